"""Rules about a configuration and its ONNX graph: same tensors, same types, same shapes."""

from __future__ import annotations

from collections.abc import Iterator

from conch_steps.onnx_backend.config import TensorConfig
from conch_steps.onnx_backend.signature import UNSUPPORTED, TensorSpec
from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.pairing import Pair, pairs
from conch_tools.check.rulebook import Rulebook

GRAPH_TENSORS = Rulebook[Pair](pairs)


@GRAPH_TENSORS.rule("ONX003", Severity.ERROR)
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
            cure = cure_for_name(tensor.name, pair.undeclared, f"its inputs are {listed(known)}")
            what = f"input `{tensor.name}` is not in {pair.named}"
            yield Problem(pair.place(pair.mark("input", index).at("name")), what, cure)


@GRAPH_TENSORS.rule("ONX004", Severity.ERROR)
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


@GRAPH_TENSORS.rule("ONX005", Severity.ERROR)
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
    misspelt = {closest(name, pair.undeclared) for name in (*strangers, *pair.controls, *pair.computed)}
    for name in pair.undeclared:
        if name not in misspelt:
            spec = pair.signature.inputs[name]
            cure = f"add it to `input`, or to `batch_input` if Triton computes it: {pair.declaration(spec)}"
            what = f"input `{name}` of {pair.named} is not in the configuration"
            yield Problem(pair.place(pair.model.marks.at("input")), what, cure)


@GRAPH_TENSORS.rule("ONX006", Severity.ERROR)
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


@GRAPH_TENSORS.rule("ONX007", Severity.ERROR)
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


@GRAPH_TENSORS.rule("ONX008", Severity.WARNING)
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
    return f"write {pair.declaration(spec)}"
