"""Rules about the sequence batcher: its control tensors, its strategies and the state that it keeps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2

from conch_tools.check.findings import Problem, Severity, listed
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.config import with_config
from conch_tools.check.rules.files import data_file_faults
from conch_tools.data_types import bytes_of, fits

_VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
_CORRELATION_ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
_STATE_FOLDER = "initial_state"


def with_sequences(repository: Repository) -> Iterator[Model]:
    """Every model that the sequence batcher serves."""
    return (model for model in with_config(repository) if model.config.HasField("sequence_batching"))


SEQUENCES = Rulebook[Model](with_sequences)


@SEQUENCES.rule("CFG030", Severity.ERROR)
def control_input_unnamed(model: Model) -> Iterator[Problem]:
    """A control tensor has no name, or the name of another.

    The batcher adds its control tensors to each request by name; Triton refuses a name that is missing or stands twice.
    Controls that share one tensor stand in one `control_input`.

    Bad in `running_total/config.pbtxt`:

        control_input {
          control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }
        }

    Good:

        control_input {
          name: "start"
          control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }
        }
    """
    seen = set[str]()
    for index, control_input in enumerate(model.config.sequence_batching.control_input):
        place = model.place(_mark(model).at("control_input", index))
        if not control_input.name:
            yield Problem(place, "a control input has no name", "give it the name the model uses")
        elif control_input.name in seen:
            what = f"two control inputs have the name `{control_input.name}`"
            yield Problem(place, what, "rename one of them, or put its `control` into the other")
        seen.add(control_input.name)


@SEQUENCES.rule("CFG031", Severity.ERROR)
def control_twice(model: Model) -> Iterator[Problem]:
    """A control stands twice.

    Each kind of control goes to one tensor; Triton refuses a second one.

    Bad in `running_total/config.pbtxt`:

        name: "start"
        control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }
        control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }

    Good:

        name: "start"
        control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }
    """
    seen: Counter[str] = Counter()
    for control, mark in _controls(model):
        kind = _kind(control)
        seen[kind] += 1
        if seen[kind] == 2:
            what = f"{kind} stands more than once"
            yield Problem(model.place(mark), what, "remove one; without a kind it is CONTROL_SEQUENCE_START")


@SEQUENCES.rule("CFG032", Severity.ERROR)
def control_values(model: Model) -> Iterator[Problem]:
    """A control does not say which values its tensor has.

    START, READY and END are false or true: Triton wants the two values, in one of three types. CORRID has the data type
    of a correlation id instead. It refuses all others.

    Bad in `running_total/config.pbtxt`:

        control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 1 ] }

    Good:

        control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }
    """
    for control, mark in _controls(model):
        kind = _kind(control)
        given = [name for name in _VALUES if getattr(control, name)]
        data_type = model_config_pb2.DataType.Name(control.data_type)
        if kind == _CORRELATION_ID:
            if given:
                yield Problem(model.place(mark), f"{kind} has `{given[0]}`", "write its `data_type` instead")
            if data_type not in _CORRELATION_ID_TYPES:
                cure = f"use one of {listed(_CORRELATION_ID_TYPES)}"
                yield Problem(model.place(mark.at("data_type")), f"{kind} is {data_type}", cure)
        elif len(given) != 1:
            what = f"{kind} has {listed(given, 'no values')}"
            yield Problem(model.place(mark), what, f"write one of {listed(_VALUES)}")
        elif len(values := getattr(control, given[0])) != 2:
            what = f"`{given[0]}` of {kind} has {len(values)} values"
            yield Problem(model.place(mark.at(given[0])), what, "write two: the one for false, the one for true")


@SEQUENCES.rule("CFG033", Severity.ERROR)
def strategy_out_of_range(model: Model) -> Iterator[Problem]:
    """A number of the strategy is out of its range.

    Batches of the strategy `oldest` have 1 to `max_batch_size` sequences, and the share of slots that `direct` waits
    for is from 0 to 1. Triton refuses others.

    Bad in `running_total/config.pbtxt`:

        sequence_batching {
          oldest { preferred_batch_size: [ 16 ] }

    Good:

        sequence_batching {
          oldest { preferred_batch_size: [ 8 ] }

    Instead of:

        sequence_batching {
    """
    batching, largest = model.config.sequence_batching, model.config.max_batch_size
    for size in batching.oldest.preferred_batch_size:
        if not 1 <= size <= largest:
            cure = f"choose sizes from 1 to {largest}" if largest > 0 else "set max_batch_size above 0"
            place = model.place(_mark(model).at("oldest").at("preferred_batch_size"))
            yield Problem(place, f"preferred batch size {size}, max_batch_size {largest}", cure)
    share = batching.direct.minimum_slot_utilization
    if not 0 <= share <= 1:
        place = model.place(_mark(model).at("direct").at("minimum_slot_utilization"))
        yield Problem(place, f"minimum_slot_utilization is {share:g}", "choose a share from 0 to 1")


@SEQUENCES.rule("CFG034", Severity.ERROR)
def initial_state_refused(model: Model) -> Iterator[Problem]:
    """An initial state is no tensor that the state can be.

    The batcher makes it when the model is loaded, for the first request of each sequence. It has the state's data type
    and dims, none of them -1, a name, and zeros or the bytes of a file in the folder `initial_state` of the model.
    Triton refuses others, and more than one for a state.

    Bad in `running_total/config.pbtxt`:

        sequence_batching {
          state {
            input_name: "before" output_name: "after" data_type: TYPE_FP32 dims: [ -1 ]
            initial_state { name: "zeros" data_type: TYPE_FP32 dims: [ -1 ] zero_data: true }
          }

    Good:

        sequence_batching {

    Instead of:

        sequence_batching {
    """
    seen = set[str]()
    for index, state in enumerate(model.config.sequence_batching.state):
        mark = _mark(model).at("state", index)
        if len(state.initial_state) > 1:
            what = f"state `{state.input_name}` has {len(state.initial_state)} initial states"
            yield Problem(model.place(mark.at("initial_state", 1)), what, "keep one")
        for initial in state.initial_state[:1]:
            place = model.place(mark.at("initial_state"))
            if state.input_name in seen:
                what = f"two states with an initial one have the input_name `{state.input_name}`"
                yield Problem(place, what, "give each state an input of its own")
            seen.add(state.input_name)
            for what, cure in _faults(model, state, initial):
                yield Problem(place, f"the initial state of `{state.input_name}` {what}", cure)


def _faults(
    model: Model,
    state: model_config_pb2.ModelSequenceBatching.State,
    initial: model_config_pb2.ModelSequenceBatching.InitialState,
) -> Iterator[tuple[str, str]]:
    """What is wrong with an initial state, each with its cure."""
    dims, wanted = list(initial.dims), list(state.dims)
    data_type, state_type = (model_config_pb2.DataType.Name(each.data_type) for each in (initial, state))
    if data_type != state_type:
        yield f"is {data_type}, the state {state_type}", f"write `data_type: {state_type}`"
    if not initial.name:
        yield "has no name", "give it any"
    if -1 in dims:
        yield f"has dims {dims}", "write its sizes, without -1"
    elif not fits(dims, wanted):
        yield f"has dims {dims}, the state {wanted}", "write dims of one sequence, with the sizes of the state"
    match initial.WhichOneof("state_data"):
        case None:
            yield "has no data", "write `zero_data: true` or `data_file`"
        case "data_file":
            file = model.file(_STATE_FOLDER, initial.data_file)
            yield from data_file_faults(file, initial.data_file, math.prod(dims) * bytes_of(data_type))


def _mark(model: Model) -> Mark:
    return model.marks.at("sequence_batching")


def _kind(control: model_config_pb2.ModelSequenceBatching.Control) -> str:
    return str(model_config_pb2.ModelSequenceBatching.Control.Kind.Name(control.kind))


def _controls(model: Model) -> Iterator[tuple[model_config_pb2.ModelSequenceBatching.Control, Mark]]:
    for index, control_input in enumerate(model.config.sequence_batching.control_input):
        mark = _mark(model).at("control_input", index)
        for number, control in enumerate(control_input.control):
            yield control, mark.at("control", number)
