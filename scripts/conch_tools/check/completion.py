"""What a model looks like once it is loaded: backends may add the tensors that config.pbtxt leaves out.

For ONNX models this can be told from the graph, by the stand-in's own rules. A source in Python adds tensors in
`auto_complete_config`; without that method it adds none. Of other backends it cannot be told, unless inputs and outputs
are there in full. Triton checks a configuration after its backend has completed it, so that what may be completed is
unknown here, not wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from tritonclient.grpc import model_config_pb2

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.complete import complete, is_complete
from conch_tools.check.backends import PYTHON
from conch_tools.check.graphs import Graph
from conch_tools.check.repository import Model, Tensor, tensors_of
from conch_tools.check.sources.source import COMPLETION, Source, read_source


@dataclass(frozen=True)
class Completed:
    """A model as an ensemble meets it. No inputs, or no outputs: nothing is known of them before the load.

    `open` says that the backend may add tensors, and what the tensors here leave out.
    """

    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    open: bool = False

    def is_known(self, tensor: Tensor) -> bool:
        """Whether data type, dims and batching of a tensor will be those that are here."""
        in_full = bool(tensor.dims) and tensor.data_type != "TYPE_INVALID"
        return not self.open or (in_full and self.max_batch_size > 0)


_COMPLETE_NOTHING = frozenset({"onnxruntime", "pytorch", "identity", "repeat", "square"})
"""Backends that add nothing, or only what their graph tells."""

UNKNOWN = Completed(0, (), ())
"""A model that is missing or whose configuration cannot be read."""


def completed(model: Model) -> Completed:
    """The model as its backend will complete it, as far as this can be told without loading it."""
    config = model.config
    graphs = [graph for graph in model.graphs.values() if isinstance(graph, Graph)]
    if graphs and not is_complete(as_json(model)):
        try:
            config = ParseDict(complete_json(model, graphs[-1]), model_config_pb2.ModelConfig())
        except ModelConfigError:
            config = model.config
    return Completed(config.max_batch_size, *tensors_of(config), open=may_be_completed(model))


def may_be_completed(model: Model) -> bool:
    """Whether a model's backend may add what its configuration leaves out, and nobody can tell here what."""
    name = model.backend.name
    if model.is_ensemble or not name or name in _COMPLETE_NOTHING:
        return False
    sources = model.sources.values() if name == PYTHON else [model.adaptor] if model.adaptor is not None else None
    return not _is_in_full(model) if sources is None else any(map(_completes, sources))


def _is_in_full(model: Model) -> bool:
    """Whether inputs and outputs are listed, each with type and dims: backends leave such a configuration alone."""
    tensors = (*model.inputs, *model.outputs)
    complete = all(tensor.dims and tensor.data_type != "TYPE_INVALID" for tensor in tensors)
    return bool(model.inputs and model.outputs) and complete


def _completes(file: Path) -> bool:
    source = read_source(file)
    return isinstance(source, Source) and (COMPLETION in source.methods or source.model_class_inherits)


def as_json(model: Model) -> dict[str, Any]:
    """The configuration as Triton gives it to backends, but with 64-bit numbers as strings."""
    config: dict[str, Any] = MessageToDict(model.config, preserving_proto_field_name=True)
    return {"name": model.name, **config}


def complete_json(model: Model, graph: Graph) -> dict[str, Any]:
    """The same, completed from the graph. Raises ModelConfigError where the backend would refuse to."""
    config = as_json(model)
    complete(config, graph.signature)
    return config
