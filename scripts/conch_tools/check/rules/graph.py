"""Rules about a configuration and its ONNX graph: same tensors, same types, same shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import TensorConfig
from conch_steps.onnx_backend.rows import RowRule
from conch_steps.onnx_backend.settings import SessionSettings
from conch_steps.onnx_backend.signature import UNSUPPORTED, TensorSpec
from conch_tools.check.completion import complete_json
from conch_tools.check.findings import Place, Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.graphs import Graph, UnreadableGraph
from conch_tools.check.pairing import Pair, pairs
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook

_OPENVINO = "openvino"
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
PAIRS = Rulebook[Pair](pairs)


@GRAPH_FILES.rule("ONX001", Severity.ERROR)
def graph_unreadable(file: GraphFile) -> Iterator[Problem]:
    """The model file is no ONNX model that Triton can serve.

    An unfinished download, a pointer of Git LFS or another format under this name fails the load; so does a
    graph that takes or gives anything but tensors.

    Bad with `double/1/model.onnx`:

        version https://git-lfs.github.com/spec/v1
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
        size 12345
    """
    if isinstance(file.graph, UnreadableGraph):
        pipeline = file.model.pipeline
        cure = f"run `conch build {pipeline}`" if pipeline else "export or fetch the model again"
        yield Problem(Place(file.graph.file), file.graph.problem, cure)


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


@PAIRS.rule("ONX003", Severity.ERROR)
def input_not_in_graph(pair: Pair) -> Iterator[Problem]:
    """The configuration has an input that the graph does not.

    The backend hands each input to the graph by name, and refuses a name that it does not know.

    Bad in `running_total/config.pbtxt`:

        input { name: "values" data_type: TYPE_FP32 dims: [ 1 ] }

    Good:

        input { name: "value" data_type: TYPE_FP32 dims: [ 1 ] }
    """
    known = {**pair.signature.inputs, **pair.signature.overridable}
    for index, tensor in enumerate(pair.config.inputs):
        if tensor.name not in known:
            cure = cure_for_name(tensor.name, _undeclared(pair), f"its inputs are {listed(known)}")
            what = f"input `{tensor.name}` is not in {pair.named}"
            yield Problem(pair.place(pair.mark("input", index).at("name")), what, cure)


@PAIRS.rule("ONX004", Severity.ERROR)
def output_not_in_graph(pair: Pair) -> Iterator[Problem]:
    """The configuration has an output that the graph does not.

    The backend asks the graph for each output by name, and refuses a name that it does not know.

    Bad in `running_total/config.pbtxt`:

        output { name: "totals" data_type: TYPE_FP32 dims: [ 1 ] }

    Good:

        output { name: "total" data_type: TYPE_FP32 dims: [ 1 ] }
    """
    known = pair.signature.outputs
    for index, tensor in enumerate(pair.config.outputs):
        if tensor.name not in known:
            cure = cure_for_name(tensor.name, known, f"its outputs are {listed(known)}")
            what = f"output `{tensor.name}` is not in {pair.named}"
            yield Problem(pair.place(pair.mark("output", index).at("name")), what, cure)


@PAIRS.rule("ONX005", Severity.ERROR)
def graph_input_not_declared(pair: Pair) -> Iterator[Problem]:
    """The graph needs an input that nothing in the configuration provides.

    Inputs, batch inputs and the controls of sequences together must be as many as the graph's inputs; an
    unused input of the graph counts, too.

    Bad in `sentiment_model/config.pbtxt`:

        input {
          name: "input_ids"
          data_type: TYPE_INT32
          dims: [ -1 ]
          allow_ragged_batch: true
        }

    Good:

        input [
          { name: "input_ids" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true },
          { name: "length" data_type: TYPE_INT32 dims: [ 1 ] }
        ]
    """
    if pair.config.implicit_state:
        return
    # A misspelt name leaves the graph's input without a declaration as well; one finding is enough.
    strangers = {tensor.name for tensor in pair.config.inputs} - pair.signature.inputs.keys()
    misspelt = {closest(name, _undeclared(pair)) for name in (*strangers, *pair.controls, *pair.computed)}
    for name in _undeclared(pair):
        if name not in misspelt:
            spec = pair.signature.inputs[name]
            cure = f"add it to `input`, or to `batch_input` if Triton computes it: {_declaration(pair, spec)}"
            what = f"input `{name}` of {pair.named} is not in the configuration"
            yield Problem(pair.place(pair.model.marks.at("input")), what, cure)


@PAIRS.rule("ONX006", Severity.ERROR)
def input_differs_from_graph(pair: Pair) -> Iterator[Problem]:
    """An input has another data type or shape than in the graph.

    Data types must be equal, and so must dims, where an open one of the graph takes any size. With
    `max_batch_size` above 0 the graph's first dimension must be open and is left out of `dims`. A ragged
    input is 1-D in the graph.

    Bad in `running_total/config.pbtxt`:

        input { name: "value" data_type: TYPE_FP32 dims: [ 8, 1 ] }

    Good:

        input { name: "value" data_type: TYPE_FP32 dims: [ 1 ] }
    """
    for index, tensor in enumerate(pair.config.inputs):
        if tensor.name in {**pair.signature.inputs, **pair.signature.overridable}:
            verdict = pair.input_verdict(tensor)
            if verdict is not None:
                cure = _input_cure(pair, pair.input_spec(tensor.name), tensor)
                yield Problem(pair.place(pair.mark("input", index)), verdict, cure)


@PAIRS.rule("ONX007", Severity.ERROR)
def output_differs_from_graph(pair: Pair) -> Iterator[Problem]:
    """An output has another data type or shape than in the graph.

    Data types and dims must be equal, and -1 only stands where the graph's dimension is open. With
    `max_batch_size` above 0 the graph's first dimension must be open and is left out of `dims`.

    Bad in `running_total/config.pbtxt`:

        output { name: "total" data_type: TYPE_FP16 dims: [ 1 ] }

    Good:

        output { name: "total" data_type: TYPE_FP32 dims: [ 1 ] }
    """
    for index, tensor in enumerate(pair.config.outputs):
        if tensor.name in pair.signature.outputs:
            verdict = pair.output_verdict(tensor)
            if verdict is not None and pair.output_verdict(tensor, if_closed=True) is not None:
                cure = _cure(pair, pair.signature.outputs[tensor.name])
                yield Problem(pair.place(pair.mark("output", index)), verdict, cure)


@PAIRS.rule("ONX008", Severity.WARNING)
def output_dim_open_in_graph(pair: Pair) -> Iterator[Problem]:
    """An output has a fixed dimension that the graph's file leaves open.

    The backend wants them equal and goes by what ONNX Runtime infers when it loads the graph. That may close
    the dimension; otherwise it refuses the model.

    Bad in `double/config.pbtxt`:

        max_batch_size: 0
        output [
          { name: "product" data_type: TYPE_FP32 dims: [ 2 ] },
          { name: "not_zero" data_type: TYPE_INT64 dims: [ 1, 2 ] }
        ]

    Good:

        max_batch_size: 0
        output [
          { name: "product" data_type: TYPE_FP32 dims: [ 2 ] },
          { name: "not_zero" data_type: TYPE_INT64 dims: [ 1, -1 ] }
        ]

    Instead of:

        max_batch_size: 0
    """
    for index, tensor in enumerate(pair.config.outputs):
        if tensor.name not in pair.signature.outputs or pair.output_verdict(tensor) is None:
            continue
        if pair.output_verdict(tensor, if_closed=True) is None:
            dims = list(tensor.dims)
            what = f"output `{tensor.name}` is {dims}, while {pair.named} leaves a dimension open"
            cure = _cure(pair, pair.signature.outputs[tensor.name])
            yield Problem(pair.place(pair.mark("output", index).at("dims")), what, cure)


@PAIRS.rule("ONX009", Severity.ERROR)
def batch_input_differs_from_graph(pair: Pair) -> Iterator[Problem]:
    """A `batch_input` does not stand for one input of the graph, or has another data type than there.

    The backend counts each `batch_input` as one input of the graph and hands it over by its target_name.

    Bad in `sentiment_model/config.pbtxt`:

        target_name: "widths"
        data_type: TYPE_FP32

    Good:

        target_name: "width"
        data_type: TYPE_FP32
    """
    for index, batch_input in enumerate(pair.config.batch_inputs):
        mark = pair.mark("batch_input", index)
        if len(batch_input.targets) > 1:
            what = f"one batch_input has {len(batch_input.targets)} targets: {listed(batch_input.targets)}"
            yield Problem(pair.place(mark.at("target_name")), what, "write one batch_input for each")
        for target in batch_input.targets:
            spec = pair.signature.inputs.get(target)
            if spec is None:
                known = listed(pair.signature.inputs)
                cure = cure_for_name(target, _undeclared(pair), f"its inputs are {known}")
                what = f"batch_input target `{target}` is no input of {pair.named}"
                yield Problem(pair.place(mark.at("target_name")), what, cure)
            elif (verdict := pair.batch_input_verdict(batch_input, target)) is not None:
                cure = f"write `data_type: {spec.data_type}`, or change the graph"
                yield Problem(pair.place(mark.at("data_type")), verdict, cure)


@PAIRS.rule("ONX010", Severity.ERROR)
def optional_and_overridable_differ(pair: Pair) -> Iterator[Problem]:
    """An input is optional in the configuration but not in the graph, or the other way round.

    An ONNX input can only be left out if the graph has an initialiser of its name; the backend counts the
    others, and wants their number to be the graph's.

    Bad in `double/config.pbtxt`:

        max_batch_size: 0
        input [
          { name: "number" data_type: TYPE_FP32 dims: [ 2 ] },
          { name: "factor" data_type: TYPE_FP32 dims: [ 2 ] }
        ]

    Good:

        max_batch_size: 0
        input [
          { name: "number" data_type: TYPE_FP32 dims: [ 2 ] },
          { name: "factor" data_type: TYPE_FP32 dims: [ 2 ] optional: true }
        ]

    Instead of:

        max_batch_size: 0
    """
    for index, tensor in enumerate(pair.config.inputs):
        mark = pair.mark("input", index)
        if tensor.optional and tensor.name in pair.signature.inputs:
            what = f"input `{tensor.name}` is optional, but {pair.named} has no default for it"
            yield Problem(pair.place(mark.at("optional")), what, "remove `optional`")
        if not tensor.optional and tensor.name in pair.signature.overridable:
            what = f"input `{tensor.name}` is an initialiser of {pair.named}: requests may leave it out"
            yield Problem(pair.place(mark), what, "set `optional: true`, or remove the input")


@PAIRS.rule("ONX011", Severity.ERROR)
def control_differs_from_graph(pair: Pair) -> Iterator[Problem]:
    """A control of the sequence batcher does not go with the graph.

    The graph must have an input of its name, [1] for each sequence, of the control's data type.

    Bad in `running_total/config.pbtxt`:

        control_input {
          name: "starts"

    Good:

        control_input {
          name: "start"
    """
    for index, control in enumerate(pair.config.control_inputs):
        verdict = pair.control_verdict(control)
        if verdict is not None:
            mark = pair.model.marks.at("sequence_batching").at("control_input", index)
            name = control.get("name", "")
            cure = cure_for_name(name, _undeclared(pair), "change the control, or the graph")
            yield Problem(pair.place(mark), verdict, cure)


@PAIRS.rule("ONX012", Severity.WARNING)
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
    for used, field, name in (
        (pair.config.implicit_state, "sequence_batching", "implicit state"),
        (pair.config.decoupled, "model_transaction_policy", "a decoupled transaction policy"),
        (_OPENVINO in pair.config.cpu_accelerators, "optimization", "the openvino accelerator"),
    ):
        if used:
            place = pair.place(pair.model.marks.at(field))
            yield Problem(place, f"{name} is not available in the stand-in", "serve it in the container only")


@PAIRS.rule("ONX013", Severity.ERROR)
def setting_refused(pair: Pair) -> Iterator[Problem]:
    """A setting of the session is not what it must be.

    The backend reads threads, memory, execution mode and accelerators when it loads a model, and refuses the model.

    Bad in `sentiment_model/config.pbtxt`:

        parameters { key: "intra_op_thread_count" value { string_value: "all" } }

    Good:

        parameters { key: "intra_op_thread_count" value { string_value: "1" } }
    """
    others = tuple(name for name in pair.config.cpu_accelerators if name != _OPENVINO)
    for read in (SessionSettings.from_config, RowRule.from_config):
        try:
            read(replace(pair.config, cpu_accelerators=others))
        except ModelConfigError as refused:
            named = _NAMED_PARAMETER.search(str(refused))
            mark = pair.model.marks.entry("parameters", named[1]) if named else pair.model.marks.at("optimization")
            what = str(refused).removeprefix(f"model '{pair.config.model}': ")
            yield Problem(pair.place(mark), what, "correct it, or remove it for the backend's own default")


def _undeclared(pair: Pair) -> list[str]:
    """The graph's inputs that nothing in the configuration provides."""
    declared = {tensor.name for tensor in pair.config.inputs}
    return [name for name in pair.signature.inputs if name not in {*declared, *pair.computed, *pair.controls}]


def _input_cure(pair: Pair, spec: TensorSpec, tensor: TensorConfig) -> str:
    if tensor.optional and pair.config.batching:
        return "set max_batch_size to 0, or remove `optional`"
    if tensor.optional and tensor.ragged:
        return "remove `optional` or `allow_ragged_batch`"
    if tensor.ragged and spec.dims != (-1,):
        return "export the graph with a flat input, or remove `allow_ragged_batch`"
    return _cure(pair, spec)


def _cure(pair: Pair, spec: TensorSpec) -> str:
    """How configuration and graph come to agree about one tensor."""
    if spec.data_type == UNSUPPORTED:
        return "cast it in the graph to a type that Triton carries"
    if pair.config.batching and spec.dims and spec.dims[0] != -1:
        return "set max_batch_size to 0, or export the graph with an open first dimension"
    return f"write {_declaration(pair, spec)}"


def _declaration(pair: Pair, spec: TensorSpec) -> str:
    dims = spec.dims[1:] if pair.config.batching else spec.dims
    if not dims:
        # Triton has no empty dims: one value a row is [1] outside and [] inside.
        reshape = " reshape { shape: [ ] }" if pair.config.batching and spec.dims else ""
        return f"`data_type: {spec.data_type} dims: [ 1 ]{reshape}`"
    return f"`data_type: {spec.data_type} dims: [ {', '.join(map(str, dims))} ]`"
