"""What a request goes through, from configurations."""

from collections.abc import Callable

import pytest

from conch_tools.errors import RepositoryError
from conch_tools.xray.plan import Plan

PlanOf = Callable[[str], Plan]


def named(steps: object) -> list[str]:
    return [step.name for step in steps]  # type: ignore[attr-defined]


def test_steps_come_behind_those_that_they_take_tensors_of_whatever_the_file_says(plan: PlanOf) -> None:
    vote = plan("vote")
    assert named(vote.steps) == ["rows", "left", "right", "join"]
    assert named(vote.before(vote.steps[3])) == ["left", "right"]
    assert vote.before(vote.steps[0]) == []


def test_a_step_knows_its_tensors_by_their_own_names_and_by_the_ensembles(plan: PlanOf) -> None:
    rows, left, _, join = plan("vote").steps
    assert (rows.inputs, rows.outputs) == ({"text": "question"}, {"rows": "table"})
    assert left.outputs == {"scores": "l"}
    assert join.inputs == {"a": "l", "b": "r"}


def test_datatypes_are_those_that_the_giving_models_declare(plan: PlanOf) -> None:
    assert plan("vote").datatypes == {
        "question": "BYTES",
        "table": "FP32",
        "l": "FP32",
        "r": "FP32",
        "label": "BYTES",
        "score": "FP32",
    }


def test_ensembles_within_an_ensemble_are_opened_up_and_their_own_tensors_told_apart(plan: PlanOf) -> None:
    outer = plan("outer")
    assert named(outer.steps)[:5] == ["vote/rows", "vote/left", "vote/right", "vote/join", "vote#2/rows"]
    assert outer.steps[0].inputs == {"text": "text"}
    assert outer.steps[0].outputs == {"rows": "vote/table"}
    assert outer.steps[3].outputs == {"label": "first", "score": "sure"}
    assert outer.steps[4].inputs == {"text": "first"}
    # Nobody outside takes the second one's score.
    assert outer.steps[7].outputs == {"label": "label", "score": "vote#2/score"}
    assert outer.models == {"outer", "vote", "rows", "left", "right", "join"}


def test_a_plain_model_is_a_plan_of_one_step(plan: PlanOf) -> None:
    alone = plan("left")
    assert not alone.is_ensemble
    assert named(alone.steps) == ["left"]
    assert (alone.inputs, alone.outputs) == (("rows",), ("scores",))


def test_an_ensemble_that_never_finishes_is_refused(plan: PlanOf) -> None:
    with pytest.raises(RepositoryError, match="`stuck` never asks `rows`: nothing gives what they take"):
        plan("stuck")


def test_an_ensemble_that_holds_itself_is_refused(plan: PlanOf) -> None:
    with pytest.raises(RepositoryError, match="`circle` is a step of itself"):
        plan("circle")
