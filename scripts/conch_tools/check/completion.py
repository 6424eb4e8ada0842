"""What a model looks like once it is loaded: backends may add the tensors that config.pbtxt leaves out.

For ONNX models this can be told from the graph, by the stand-in's own rules; for other backends it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from tritonclient.grpc import model_config_pb2

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.complete import complete, is_complete
from conch_tools.check.graphs import Graph
from conch_tools.check.repository import Model, Tensor, tensors_of


@dataclass(frozen=True)
class Completed:
    """A model as an ensemble meets it. No inputs, or no outputs: nothing is known of them before the load."""

    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


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
    return Completed(config.max_batch_size, *tensors_of(config))


def as_json(model: Model) -> dict[str, Any]:
    """The configuration as Triton gives it to backends, but with 64-bit numbers as strings."""
    config: dict[str, Any] = MessageToDict(model.config, preserving_proto_field_name=True)
    return {"name": model.name, **config}


def complete_json(model: Model, graph: Graph) -> dict[str, Any]:
    """The same, completed from the graph. Raises ModelConfigError where the backend would refuse to."""
    config = as_json(model)
    complete(config, graph.signature)
    return config
