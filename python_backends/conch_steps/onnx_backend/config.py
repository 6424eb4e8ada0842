"""The parts of config.pbtxt that the onnxruntime backend acts on, read once from its JSON form.

Triton gives this form as `args["model_config"]`. `MessageToDict(config, preserving_proto_field_name=True)` of
the protobuf gives it too, but with 64-bit numbers as strings and unset fields left out; both are understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class TensorConfig:
    """One `input` or `output`. `dims` are those that the graph sees: after `reshape`, without the batch."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    ragged: bool = False
    optional: bool = False


@dataclass(frozen=True)
class BatchInput:
    """One `batch_input`: graph inputs computed from the shapes that `source` has in a batch's requests."""

    kind: str
    targets: tuple[str, ...]
    source: str
    data_type: str


@dataclass(frozen=True)
class BatchOutput:
    """One `batch_output`: `target` is cut by the shapes that `source` has in the requests of a batch."""

    target: str
    source: str


@dataclass(frozen=True)
class BackendConfig:
    """One model's configuration. `parameters` holds their string values."""

    model: str
    max_batch_size: int
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]
    batch_inputs: tuple[BatchInput, ...]
    batch_outputs: tuple[BatchOutput, ...]
    parameters: Mapping[str, str]
    graph_level: int
    cpu_accelerators: tuple[str, ...]
    op_libraries: tuple[str, ...]
    instances: int
    control_inputs: tuple[Json, ...]
    implicit_state: bool
    decoupled: bool

    @property
    def batching(self) -> bool:
        """Whether tensors carry a batch dimension."""
        return self.max_batch_size > 0

    @classmethod
    def from_json(cls, config: Json) -> BackendConfig:
        """Read the JSON form of a ModelConfig that Triton's core has accepted."""
        optimization = config.get("optimization", {})
        accelerators = optimization.get("execution_accelerators", {})
        sequence = config.get("sequence_batching", {})
        return cls(
            model=config.get("name", ""),
            max_batch_size=int(config.get("max_batch_size", 0)),
            inputs=tuple(_tensor(io) for io in config.get("input", ())),
            outputs=tuple(_tensor(io) for io in config.get("output", ())),
            batch_inputs=tuple(_batch_input(io) for io in config.get("batch_input", ())),
            batch_outputs=tuple(_batch_output(io) for io in config.get("batch_output", ())),
            parameters={key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()},
            graph_level=int(optimization.get("graph", {}).get("level", 0)),
            cpu_accelerators=tuple(
                entry.get("name", "") for entry in accelerators.get("cpu_execution_accelerator", ())
            ),
            op_libraries=tuple(config.get("model_operations", {}).get("op_library_filename", ())),
            instances=sum(int(group.get("count", 1)) for group in config.get("instance_group", ())),
            control_inputs=tuple(sequence.get("control_input", ())),
            implicit_state=bool(sequence.get("state")),
            decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
        )


def _tensor(io: Json) -> TensorConfig:
    dims = io["reshape"].get("shape", ()) if "reshape" in io else io.get("dims", ())
    return TensorConfig(
        name=io["name"],
        data_type=io.get("data_type", "TYPE_INVALID"),
        dims=tuple(int(dim) for dim in dims),
        ragged=bool(io.get("allow_ragged_batch", False)),
        optional=bool(io.get("optional", False)),
    )


def _batch_input(io: Json) -> BatchInput:
    return BatchInput(
        # 0 is the first kind, and protobuf leaves zeros out.
        kind=io.get("kind", "BATCH_ELEMENT_COUNT"),
        targets=tuple(io.get("target_name", ())),
        source=io["source_input"][0],
        data_type=io.get("data_type", "TYPE_INVALID"),
    )


def _batch_output(io: Json) -> BatchOutput:
    return BatchOutput(target=io["target_name"][0], source=io["source_input"][0])
