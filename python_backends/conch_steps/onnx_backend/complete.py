"""Fill in what config.pbtxt leaves out: inputs, outputs, max_batch_size and a scheduler, from the graph.

The C++ backend's rules. Completion is all or nothing: with at least one input and one output given, the
configuration is taken as it stands. A graph can batch when all its tensors have an open first dimension.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import Json
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec

DEFAULT_MAX_BATCH_SIZE = 4
"""Triton's own `default-max-batch-size`; options of the command line do not reach a stand-in."""


def is_complete(config: Json) -> bool:
    """Whether the configuration is taken as it stands, so that nobody needs to open the model."""
    return bool(config.get("input") or config.get("batch_input")) and bool(config.get("output"))


def complete(config: dict[str, Any], signature: GraphSignature) -> None:
    """Add to `config` (the JSON form of a ModelConfig) what the graph tells; what is given stays.

    Raises ModelConfigError when `max_batch_size` asks for batches that the graph cannot take.
    """
    if is_complete(config):
        return
    _complete_batching(config, signature)
    batching = int(config.get("max_batch_size", 0)) > 0
    if not config.get("input") and not config.get("batch_input"):
        config["input"] = _tensors(signature.inputs.values(), batching)
    if not config.get("output"):
        config["output"] = _tensors(signature.outputs.values(), batching)


def _complete_batching(config: dict[str, Any], signature: GraphSignature) -> None:
    tensors = (*signature.inputs.values(), *signature.outputs.values())
    size = int(config.get("max_batch_size", 0))
    if not all(spec.dims and spec.dims[0] == -1 for spec in tensors):
        if size > 0:
            raise ModelConfigError(
                f"autofill failed for model '{config.get('name', '')}': model does not support batching "
                "while non-zero max_batch_size is specified: set it to 0, or export the graph with an open "
                "first dimension"
            )
        return
    if size == 0:
        size = DEFAULT_MAX_BATCH_SIZE
        config["max_batch_size"] = size
    if size > 1 and "sequence_batching" not in config:
        config.setdefault("dynamic_batching", {})


def _tensors(specs: Iterable[TensorSpec], batching: bool) -> list[dict[str, Any]]:
    return [_tensor(spec, batching) for spec in specs]


def _tensor(spec: TensorSpec, batching: bool) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": spec.name, "data_type": spec.data_type}
    dims = list(spec.dims[1:] if batching else spec.dims)
    if not dims:
        # Triton has no empty dims: a scalar a row is [1] outside and [] inside.
        dims = [1]
        if batching:
            tensor["reshape"] = {"shape": []}
    tensor["dims"] = dims
    return tensor
