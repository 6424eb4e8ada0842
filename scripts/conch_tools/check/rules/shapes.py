"""Rules about what flows through an ensemble: data types, shapes and batch sizes of neighbours agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from conch_tools.check.findings import Problem, Severity
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.wiring import Declared, Sighting, Wiring, wirings
from conch_tools.data_types import WILDCARD, fits

SHAPES = Rulebook[Wiring](wirings)


@SHAPES.rule("ENS030", Severity.ERROR)
def data_types_differ(wiring: Wiring) -> Iterator[Problem]:
    """Neighbours in an ensemble declare different data types for one tensor.

    Triton converts nothing between steps. It compares every declaration with the first one, and refuses the
    ensemble.

    Bad in `topics/config.pbtxt`:

        { name: "score" data_type: TYPE_FP64 dims: [ -1 ] }

    Good:

        { name: "score" data_type: TYPE_FP32 dims: [ -1 ] }
    """
    for name, (first, *others) in wiring.sightings.items():
        for other in others:
            if other.declared.tensor.data_type != first.declared.tensor.data_type:
                one, two = _type(other.declared), _type(first.declared)
                cure = "use one data type on both sides, or convert in a step between"
                yield Problem(wiring.place(other.mark), f"`{name}` is {one}, but {two}", cure)


@SHAPES.rule("ENS031", Severity.ERROR)
def dims_differ(wiring: Wiring) -> Iterator[Problem]:
    """Neighbours in an ensemble declare shapes for one tensor that cannot be equal.

    Triton compares dims, then dims with the batch dimension in front where a model batches; -1 fits any size.
    It compares every declaration with the first one, and refuses the ensemble if neither pair fits.

    Bad in `topics/config.pbtxt`:

        { name: "text" data_type: TYPE_STRING dims: [ 2 ] }

    Good:

        { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
    """
    for name, (first, *others) in wiring.sightings.items():
        for other in others:
            if not other.declared.agrees_with(first.declared):
                yield _differing_dims(wiring, name, other, first)


@SHAPES.rule("ENS032", Severity.ERROR)
def dims_differ_at_run_time(wiring: Wiring) -> Iterator[Problem]:
    """Neighbours in an ensemble declare shapes that cannot be equal, though Triton loads it.

    Triton compares each declaration with the first one only. Where that has -1, two others that contradict
    each other pass, and every request fails at one of the steps.

    Bad in `doubled/config.pbtxt`:

        output [
          { name: "embedding" data_type: TYPE_FP32 dims: [ -1 ] },
          { name: "total" data_type: TYPE_FP32 dims: [ 1 ] },
          { name: "product" data_type: TYPE_FP32 dims: [ 2 ] }
        ]
        ensemble_scheduling {
          step {
            model_name: "running_total"
            model_version: -1
            input_map { key: "value" value: "embedding" }
            output_map { key: "total" value: "total" }
          }

    Good:

        output { name: "product" data_type: TYPE_FP32 dims: [ 2 ] }
        ensemble_scheduling {
    """
    for name, (first, *others) in wiring.sightings.items():
        loaded = [other for other in others if other.declared.agrees_with(first.declared)]
        for one, other in combinations(loaded, 2):
            if not one.declared.agrees_with(other.declared) and not _differ_by_the_batch(wiring, name, one, other):
                yield _differing_dims(wiring, name, other, one)


@SHAPES.rule("ENS033", Severity.ERROR)
def batch_too_large_for_step(wiring: Wiring) -> Iterator[Problem]:
    """An ensemble allows larger batches than one of its steps.

    Triton splits no requests; it refuses an ensemble whose `max_batch_size` is above that of a step that
    batches.

    Bad in `topics/config.pbtxt`:

        max_batch_size: 16

    Good:

        max_batch_size: 8
    """
    largest = wiring.ensemble.config.max_batch_size
    for step in wiring.steps:
        allowed = step.completed.max_batch_size
        if 0 < allowed < largest and not step.completed.open:
            step_allows = f"`{step.model_name}` (step {step.index}) allows {allowed}"
            what = f"max_batch_size is {largest}, but {step_allows}"
            cure = f"set it to at most {allowed} here, or raise it in `{step.model_name}`"
            yield Problem(wiring.place(wiring.ensemble.marks.at("max_batch_size")), what, cure)


@SHAPES.rule("ENS034", Severity.WARNING)
def batches_into_a_step_without(wiring: Wiring) -> Iterator[Problem]:
    """Batches reach a step that takes one item at a time.

    The step has `max_batch_size: 0` and dims without a dimension for the batch. Triton takes the batch
    dimension away when it is 1; a request with more items fails at this step.

    Bad in `doubled/config.pbtxt`:

        max_batch_size: 8

    Good:

        max_batch_size: 1
    """
    if wiring.ensemble.config.max_batch_size < 2:
        return
    for joint in wiring.joints:
        taker, giver = joint.taker.declared, joint.giver
        alone = giver.batches and not taker.batches and not fits(giver.full_dims, taker.dims)
        if alone and taker.agrees_with(giver):
            name, dims = joint.ensemble_tensor, list(taker.dims)
            what = f"`{name}` comes in batches, but `{taker.model}` takes one {dims} at a time"
            cure = f"let `{taker.model}` batch, or set the ensemble's max_batch_size to 1"
            yield Problem(wiring.place(joint.taker.mark), what, cure)


@SHAPES.rule("ENS035", Severity.WARNING)
def optional_input_for_a_required_one(wiring: Wiring) -> Iterator[Problem]:
    """An optional input of the ensemble feeds a required input of a step.

    Triton lets callers leave the input out, and then fails their requests at the step.

    Bad in `topics/config.pbtxt`:

        { name: "labels" data_type: TYPE_STRING dims: [ -1 ] optional: true }

    Good:

        { name: "labels" data_type: TYPE_STRING dims: [ -1 ] }
    """
    for name, declared in wiring.inputs.items():
        for port in wiring.consumers.get(name, ()) if declared.tensor.optional else ():
            if port.declared is not None and not port.declared.tensor.optional:
                what = f"`{name}` may be left out, but `{port.step.model_name}` needs it as `{port.key}`"
                cure = "make both optional, or neither"
                yield Problem(wiring.place(port.mark), what, cure)


def _differ_by_the_batch(wiring: Wiring, name: str, one: Sighting, other: Sighting) -> bool:
    """Whether of two that do not batch one takes the tensor with its batch of one, and one without: Triton takes the
    batch dimension away where a step has no place for it."""
    givers = [port.declared for port in wiring.producers.get(name, ())] + [wiring.inputs.get(name)]
    if one.declared.batches or other.declared.batches:
        return False
    batched = any(giver is not None and giver.batches for giver in givers)
    shapes = (one.declared.dims, other.declared.dims)
    return batched and any(
        whole[:1] in ((WILDCARD,), (1,)) and fits(whole[1:], item) for whole, item in (shapes, shapes[::-1])
    )


def _type(declared: Declared) -> str:
    return f"{declared.tensor.data_type} in `{declared.model}`"


def _differing_dims(wiring: Wiring, name: str, one: Sighting, other: Sighting) -> Problem:
    what = f"`{name}` is {_shape(one.declared)}, but {_shape(other.declared)}"
    return Problem(wiring.place(one.mark), what, _shape_cure(one.declared, other.declared))


def _shape(declared: Declared) -> str:
    batched = f", {list(declared.full_dims)} with its batch" if declared.batches else ""
    return f"{list(declared.dims)} in `{declared.model}`{batched}"


def _shape_cure(one: Declared, other: Declared) -> str:
    if fits(one.dims[1:], other.dims) or fits(one.dims, other.dims[1:]):
        return "dims leave out the batch dimension where a model batches, and hold it where none does"
    return "give both the same dims, with -1 where the size varies"
