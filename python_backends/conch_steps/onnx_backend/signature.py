"""What a graph takes and gives: names, element types and dims, in Triton's terms.

The signature is read from a session, not from the file: ONNX Runtime infers shapes when it loads a graph and
closes dims that the file leaves open (a file may declare an output as [batch, labels] and the session know
[batch, 2]). The C++ backend judges configurations by the session's view, and reading the file with the `onnx`
package is no faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from conch_steps.errors import ModelConfigError

UNSUPPORTED = "TYPE_INVALID"
"""Element types that Triton's backend does not carry: bfloat16, complex and 8-bit floats."""

DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}
"""ONNX Runtime's names of element types, to the names in config.pbtxt."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a graph. `dims` include the batch dimension; -1 is open, () a scalar or unknown."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class GraphSignature:
    """A graph's tensors by name. `overridable` are initialisers that a request may replace."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    overridable: Mapping[str, TensorSpec]

    @classmethod
    def from_session(cls, session: Any) -> GraphSignature:
        """Read an onnxruntime.InferenceSession. Raises ModelConfigError for anything but tensors."""
        return cls(
            inputs=_specs(session.get_inputs()),
            outputs=_specs(session.get_outputs()),
            overridable=_specs(session.get_overridable_initializers()),
        )


def _specs(arguments: Iterable[Any]) -> dict[str, TensorSpec]:
    return {argument.name: _spec(argument) for argument in arguments}


def _spec(argument: Any) -> TensorSpec:
    kind, _, element = argument.type.partition("(")
    if kind != "tensor":
        raise ModelConfigError(
            f"the graph's `{argument.name}` is a {argument.type}, but Triton carries plain tensors only: "
            "export the graph without it"
        )
    dims = tuple(dim if isinstance(dim, int) else -1 for dim in argument.shape)
    return TensorSpec(argument.name, DATA_TYPES.get(element.rstrip(")"), UNSUPPORTED), dims)
