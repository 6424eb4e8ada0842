"""A network of PyTorch's or TensorFlow's as a tabular classifier: rows of numbers in, a score for each class out.

It names neither columns nor classes. How many columns there are say the features of pipeline.toml, and before there are
some, the network's first weights, or its signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import ModelProto, TensorProto

from conch_tools.build.networks import NetworkApart, read_network
from conch_tools.build.tabular_graph import GraphInput, served_graph
from conch_tools.build.tabular_model import Column, Matrix, Scores, numbered_classes, require_usable
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline

ROWS, SCORES = "rows", "scores"


@dataclass(frozen=True)
class NetworkTable:
    """A TabularModel."""

    network: NetworkApart
    columns: Sequence[Column]
    labels: Sequence[str]
    notes: Sequence[str] = ()

    @property
    def library(self) -> str:
        """That of the network."""
        return self.network.library

    @property
    def origin(self) -> Mapping[str, str]:
        """Nothing that [source] does not say."""
        return {}

    def answers(self, rows: Matrix) -> Matrix:
        """Raises BuildError when the network does not take the rows."""
        return self.network.answers(rows)

    def graph(self, output: Scores) -> ModelProto:
        """The network's, which takes `rows`."""
        given = GraphInput(ROWS, TensorProto.FLOAT, len(self.columns))
        model = onnx.load_from_string(self.network.onnx)
        return served_graph(model, [given], SCORES, output, len(self.labels), {})


def read_network_table(pipeline: Pipeline) -> NetworkTable:
    """Raises BuildError when the source is no network that takes rows of the features."""
    shape = [len(pipeline.features)] if pipeline.features else None
    network = read_network(pipeline, shape, ROWS, SCORES, "rows of {} numbers")
    columns = [Column(f"feature_{index}") for index in range(network.shape[0])]
    labels = pipeline.table.labels if pipeline.table else numbered_classes(network.classes)
    if len(labels) != network.classes:
        raise BuildError(
            pipeline.name,
            f"its network answers a row with {network.classes} scores, but {len(labels)} classes are named",
        )
    require_usable(pipeline.name, columns, labels)
    return NetworkTable(network, columns, labels)
