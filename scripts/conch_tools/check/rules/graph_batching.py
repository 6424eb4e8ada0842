"""Rules about the graph inputs that Triton fills itself or that callers may leave out."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.check.findings import Problem, Severity, cure_for_name, listed
from conch_tools.check.pairing import Pair, pairs
from conch_tools.check.rulebook import Rulebook

GRAPH_BATCHING = Rulebook[Pair](pairs)


@GRAPH_BATCHING.rule("ONX009", Severity.ERROR)
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
                cure = cure_for_name(target, pair.undeclared, f"its inputs are {known}")
                what = f"batch_input target `{target}` is no input of {pair.named}"
                yield Problem(pair.place(mark.at("target_name")), what, cure)
            elif (verdict := pair.batch_input_verdict(batch_input, target)) is not None:
                cure = f"write `data_type: {spec.data_type}`, or change the graph"
                yield Problem(pair.place(mark.at("data_type")), verdict, cure)


@GRAPH_BATCHING.rule("ONX010", Severity.ERROR)
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


@GRAPH_BATCHING.rule("ONX011", Severity.ERROR)
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
            cure = cure_for_name(name, pair.undeclared, "change the control, or the graph")
            yield Problem(pair.place(mark), verdict, cure)
