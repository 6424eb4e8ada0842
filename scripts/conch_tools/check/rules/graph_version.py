"""Rules about the version of ONNX that a graph is written in, compared with the runtime of the pinned release.

A graph that a newer onnxruntime loads on the machine of its author need not load in the container.
"""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.check.findings import Place, Problem, Severity
from conch_tools.check.graphs import Graph
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.graph import GraphFile, graph_files

GRAPH_VERSIONS = Rulebook[GraphFile](graph_files)

RUNTIME = "ONNX Runtime 1.19.2 of release 24.10"
NEWEST_OPSET = 21
NEWEST_IR = 10
"""What this runtime takes: it was built with ONNX 1.16."""


@GRAPH_VERSIONS.rule("ONX020", Severity.WARNING)
def opset_too_new(file: GraphFile) -> Iterator[Problem]:
    """A graph has a newer operator set than the server's runtime knows.

    The container of release 24.10 has ONNX Runtime 1.19.2, which loads operator sets up to 21. A newer onnxruntime, as
    in Conch's stand-in, may load the graph all the same.

    Bad in `double/1/model.onnx`:

        opset_import: ["": 22]

    Good:

        opset_import: ["": 17]
    """
    if isinstance(file.graph, Graph) and file.graph.opset > NEWEST_OPSET:
        what = f"the graph has operator set {file.graph.opset}, {RUNTIME} knows {NEWEST_OPSET} at most"
        yield Problem(Place(file.graph.file), what, f"export it again with opset {NEWEST_OPSET} or lower")


@GRAPH_VERSIONS.rule("ONX021", Severity.WARNING)
def format_too_new(file: GraphFile) -> Iterator[Problem]:
    """A graph's file has a newer format than the server's runtime reads.

    The container of release 24.10 has ONNX Runtime 1.19.2, which reads files up to IR version 10.

    Bad in `double/1/model.onnx`:

        ir_version: 11

    Good:

        ir_version: 8
    """
    if isinstance(file.graph, Graph) and file.graph.ir_version > NEWEST_IR:
        what = f"the file has IR version {file.graph.ir_version}, {RUNTIME} reads {NEWEST_IR} at most"
        yield Problem(Place(file.graph.file), what, f"write `model.ir_version = {NEWEST_IR}` before it is saved")
