"""How far two versions are apart, and where they part."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from conch_tools.likeness import Array
from conch_tools.xray.counterparts import aligned
from conch_tools.xray.diff import StepDifference, compared, first_divergence
from conch_tools.xray.plan import Plan, plan_of
from conch_tools.xray.walk import Walk

PlanOf = Callable[[str], Plan]
Tensors = Mapping[str, Array]
VOTE: Tensors = {
    "table": np.zeros(2),
    "l": np.zeros(2),
    "r": np.zeros(2),
    "label": np.array(["a"], dtype=object),
    "score": np.zeros(1),
}


def walked(plan: Plan, tensors: Tensors) -> Walk:
    """A request that every step answered."""
    return Walk(tensors, tuple(step.name for step in plan.steps), None, ())


def of_two(plan: Plan, one: Tensors, other: Tensors, tolerance: float) -> list[StepDifference]:
    return compared(plan, walked(plan, one), plan, walked(plan, other), tolerance)


def test_steps_correspond_by_the_tensors_that_they_give(plan: PlanOf) -> None:
    pairs = [(one and one.name, two and two.name) for one, two in aligned(plan("vote"), plan("outer"))]
    assert pairs[:2] == [("rows", "vote/rows"), ("left", "vote/left")]
    assert (None, "vote#2/right") in pairs


def test_where_the_names_differ_the_place_and_the_models_names_decide(plan: PlanOf) -> None:
    config = {"backend": "python", "input": [{"name": "rows"}], "output": [{"name": "scores"}]}
    left, other = plan("left"), plan_of("left_v2", "", lambda model, version: config)
    ours, theirs = walked(left, {"scores": np.zeros(2)}), walked(other, {"scores": np.ones(2)})
    (pair,) = compared(left, ours, other, theirs, 0.5)
    assert (pair.step, pair.other, pair.worst) == ("left", "left_v2", 1.0)


def test_the_first_step_that_differs_is_named_though_later_ones_differ_more(plan: PlanOf) -> None:
    others = {**VOTE, "l": np.full(2, 0.01), "score": np.ones(1)}
    first = first_divergence(of_two(plan("vote"), VOTE, others, 1e-3))
    assert first is not None
    assert first.step == "left"
    assert first_divergence(of_two(plan("vote"), VOTE, others, 2.0)) is None


@pytest.mark.parametrize(("missing", "step"), [("table", "rows"), ("label", "join")])
def test_a_tensor_that_only_one_of_two_answers_holds_is_a_difference(plan: PlanOf, missing: str, step: str) -> None:
    fewer = {name: value for name, value in VOTE.items() if name != missing}
    for one, other, words in (
        (VOTE, fewer, "the other one does not give it"),
        (fewer, VOTE, "only the other one gives it"),
    ):
        first = first_divergence(of_two(plan("vote"), one, other, 1e9))
        assert first is not None and first.step == step
        assert [(wire, each.words) for wire, each in first.tensors if each.beyond] == [(missing, words)]
    assert first_divergence(of_two(plan("vote"), fewer, fewer, 0.0)) is None


def test_a_tensor_that_the_other_model_has_besides_is_a_difference(plan: PlanOf) -> None:
    outputs = [{"name": "scores"}, {"name": "reasons"}]
    left = plan("left")
    other = plan_of("left_v2", "", lambda model, version: {"backend": "python", "output": outputs})
    same = {"scores": np.zeros(2)}
    theirs = walked(other, {**same, "reasons": np.zeros(2)})
    (pair,) = compared(left, walked(left, same), other, theirs, 1e9)
    assert [(wire, each.words) for wire, each in pair.tensors] == [
        ("scores", "equal"),
        ("reasons", "only the other one gives it"),
    ]


def test_what_a_step_that_failed_would_have_given_is_not_compared(plan: PlanOf) -> None:
    vote = plan("vote")
    failed = Walk({"table": np.zeros(2)}, ("rows",), None, ())
    for one, other in ((walked(vote, VOTE), failed), (failed, walked(vote, VOTE))):
        assert first_divergence(compared(vote, one, vote, other, 0.0)) is None
