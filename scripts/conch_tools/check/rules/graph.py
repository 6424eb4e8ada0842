"""Rules about an ONNX file and the settings it is run with: it can be read, batched and served as configured."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.rows import RowRule
from conch_steps.onnx_backend.settings import SessionSettings
from conch_tools.check.completion import complete_json
from conch_tools.check.findings import Place, Problem, Severity, listed
from conch_tools.check.graphs import Graph, UnreadableGraph
from conch_tools.check.pairing import Pair, pairs
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.served import is_ours

_OPENVINO = "openvino"
_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib")
_NAMED_PARAMETER = re.compile(r"parameter '([^']+)'")


@dataclass(frozen=True, eq=False)
class GraphFile:
    """The ONNX file of one version, read or not."""

    model: Model
    graph: Graph | UnreadableGraph


def graph_files(repository: Repository) -> Iterator[GraphFile]:
    """Every ONNX file that would be loaded."""
    for model in repository.readable:
        for graph in model.graphs.values():
            yield GraphFile(model, graph)


GRAPH_FILES = Rulebook[GraphFile](graph_files)
GRAPH_SETTINGS = Rulebook[Pair](pairs)
STAND_IN = Rulebook[Pair](
    lambda repository: (pair for pair in pairs(repository) if repository.for_cpus and is_ours(pair.model))
)
OTHER_RUNTIME = Rulebook[Pair](lambda repository: (pair for pair in pairs(repository) if not is_ours(pair.model)))


@GRAPH_FILES.rule("ONX001", Severity.ERROR)
def graph_unreadable(file: GraphFile) -> Iterator[Problem]:
    """The model file is no ONNX model that Triton can serve.

    An unfinished download, a pointer of Git LFS or another format under this name fails the load; so does a
    graph that takes or gives anything but tensors.

    Bad in `double/1/model.onnx`:

        version https://git-lfs.github.com/spec/v1
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
        size 12345

    Good:

        <ir_version: 8, opset_import: ["": 17]>
        double (float[2] number, float[2] factor) => (float[2] product, int64[1, K] not_zero)
        <float[2] factor = {2.0, 2.0}>
        {
          product = Mul(number, factor)
          not_zero = NonZero(product)
        }
    """
    if isinstance(file.graph, UnreadableGraph):
        pipeline = file.model.pipeline
        cure = f"run `conch build {pipeline}`" if pipeline else "export or fetch the model again"
        yield Problem(Place(file.graph.file), file.graph.problem, cure)


@GRAPH_FILES.rule("ONX022", Severity.ERROR)
def weights_missing(file: GraphFile) -> Iterator[Problem]:
    """A file with weights is not there.

    A graph may keep its weights in files of their own, which it names and ONNX Runtime looks for beside it; the load
    fails without one. They are easily left behind when a graph is copied or fetched.

    Bad in `double/1/model.onnx`:

        <float[2] factor = ["location": "factor.bin"]>

    Good:

        <float[2] factor = {2.0, 2.0}>
    """
    for name in file.graph.external if isinstance(file.graph, Graph) else ():
        if not (file.graph.file.parent / name).is_file():
            pipeline = file.model.pipeline
            cure = f"run `conch build {pipeline}`" if pipeline else f"put it into {file.graph.file.parent}"
            yield Problem(Place(file.graph.file), f"`{name}` with weights of the graph is missing", cure)


@GRAPH_FILES.rule("ONX002", Severity.ERROR)
def graph_cannot_batch(file: GraphFile) -> Iterator[Problem]:
    """`max_batch_size` is above 0, tensors are left to auto-complete, and the graph cannot take batches.

    The backend completes such a configuration only where every input and output of the graph has an open
    first dimension, and otherwise refuses it.

    Bad in `double/config.pbtxt`:

        max_batch_size: 8

    Good:

        max_batch_size: 0
    """
    if isinstance(file.graph, Graph):
        try:
            complete_json(file.model, file.graph)
        except ModelConfigError:
            signature = file.graph.signature
            specs = (*signature.inputs.values(), *signature.outputs.values())
            closed = listed(spec.name for spec in specs if not spec.dims or spec.dims[0] != -1)
            size = file.model.config.max_batch_size
            what = f"max_batch_size is {size}, but the graph has no open first dimension in {closed}"
            mark = file.model.marks.at("max_batch_size")
            cure = "set it to 0, or export the graph with an open first dimension"
            yield Problem(file.model.place(mark), what, cure)


@OTHER_RUNTIME.rule("ONX012", Severity.WARNING)
def not_in_the_stand_in(pair: Pair) -> Iterator[Problem]:
    """The configuration needs NVIDIA's onnxruntime backend.

    Implicit state, decoupled answers and OpenVINO do not work in Conch's stand-in, so this model cannot be run
    without the container.

    Bad in `double/config.pbtxt`:

        max_batch_size: 0
        model_transaction_policy { decoupled: true }

    Good:

        max_batch_size: 0
    """
    yield from _unavailable(pair, "serve it in the container only")


@STAND_IN.rule("ONX014", Severity.ERROR)
def refused_by_the_stand_in(pair: Pair) -> Iterator[Problem]:
    """The configuration wants what Conch's stand-in for onnxruntime cannot do.

    Implicit state, decoupled answers and OpenVINO work in NVIDIA's backend only. The stand-in refuses the model when it
    is loaded.

    Bad in `double/config.pbtxt`:

        max_batch_size: 0
        model_transaction_policy { decoupled: true }

    Good:

        max_batch_size: 0
    """
    yield from _unavailable(pair, "remove it, or write it into configs/gpu.pbtxt for the container")


@STAND_IN.rule("ONX015", Severity.ERROR)
def operations_missing(pair: Pair) -> Iterator[Problem]:
    """A library of custom operations is not there.

    onnxruntime loads the libraries of `model_operations` before the graph. It looks for a name with a `/` as it stands,
    for any other in the folders of the system's libraries, and refuses the model without.

    Bad in `double/config.pbtxt`:

        max_batch_size: 0
        model_operations { op_library_filename: "/opt/operations/libsquare.so" }

    Good:

        max_batch_size: 0
    """
    for index, name in enumerate(pair.config.op_libraries):
        folders = ("",) if "/" in name else (*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *_LIBRARY_FOLDERS)
        if not any((Path(folder) / name).is_file() for folder in folders):
            mark = pair.model.marks.at("model_operations").at("op_library_filename", index)
            yield Problem(pair.place(mark), f"library `{name}` is not there", "write the whole path of the library")


@GRAPH_SETTINGS.rule("ONX013", Severity.ERROR)
def setting_refused(pair: Pair) -> Iterator[Problem]:
    """A setting of the session is not what it must be.

    The backend reads threads, memory and execution mode when it loads a model, and refuses the model.

    Bad in `sentiment_model/config.pbtxt`:

        parameters { key: "intra_op_thread_count" value { string_value: "all" } }

    Good:

        parameters { key: "intra_op_thread_count" value { string_value: "1" } }
    """
    for read in (SessionSettings.from_config, RowRule.from_config):
        try:
            read(replace(pair.config, cpu_accelerators=()))
        except ModelConfigError as refused:
            named = _NAMED_PARAMETER.search(str(refused))
            mark = pair.model.marks.entry("parameters", named[1]) if named else pair.model.marks.at("optimization")
            what = str(refused).removeprefix(f"model '{pair.config.model}': ")
            yield Problem(pair.place(mark), what, "correct it, or remove it for the backend's own default")


def _unavailable(pair: Pair, cure: str) -> Iterator[Problem]:
    for used, field, name in (
        (pair.config.implicit_state, "sequence_batching", "implicit state"),
        (pair.config.decoupled, "model_transaction_policy", "a decoupled transaction policy"),
        (_OPENVINO in pair.config.cpu_accelerators, "optimization", "the openvino accelerator"),
    ):
        if used:
            place = pair.place(pair.model.marks.at(field))
            yield Problem(place, f"{name} is not available in the stand-in", cure)
