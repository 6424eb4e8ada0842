"""How far two versions are apart."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from conch_tools.xray.diff import aligned, compared, difference, first_divergence
from conch_tools.xray.plan import Plan, plan_of
from conch_tools.xray.tensors import Array

PlanOf = Callable[[str], Plan]


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def test_the_worst_number_counts_and_its_place_is_told() -> None:
    found = difference(np.array([[1.0, 2.0]]), np.array([[1.0, 2.5]]), 0.1)
    assert (found.worst, found.beyond) == (0.5, True)
    assert found.words == "worst difference 0.5, at [0, 1]: 2 against 2.5"
    assert not difference(np.array([1.0]), np.array([1.05]), 0.1).beyond


def test_whole_numbers_and_unsigned_ones_do_not_wrap_around() -> None:
    assert difference(np.array([0], dtype=np.uint8), np.array([255], dtype=np.uint8), 1).worst == 255


def test_nan_equals_nan_and_nothing_else() -> None:
    nan, inf = np.array([np.nan, np.inf]), np.array([np.nan, -np.inf])
    assert difference(nan, nan.copy(), 0.0).words == "equal"
    assert difference(nan, inf, 1e9).worst == math.inf
    assert difference(np.array([np.nan]), np.array([0.0]), 1e9).beyond


def test_another_shape_is_a_difference() -> None:
    assert difference(np.zeros((1, 2)), np.zeros((2, 1)), 1.0).words == "shape [1, 2] against [2, 1]"
    assert not difference(np.zeros((0, 2)), np.zeros((0, 2)), 0.0).beyond


def test_texts_are_equal_or_not_but_numbers_in_json_may_be_near() -> None:
    assert difference(texts("a", "b"), texts("a", "c"), 1.0).words == "'b' against 'c'"
    one, other = '[{"text": "a", "score": 0.5}]', '[{"text": "a", "score": 0.51}]'
    assert not difference(texts(one), texts(other), 0.1).beyond
    assert difference(texts(one), texts(other), 0.001).beyond
    assert difference(texts('{"a": 1.0}'), texts('{"b": 1.0}'), 9.0).beyond
    assert difference(texts("[" * 100_000), texts("[" * 100_001), 9.0).beyond


def test_steps_correspond_by_the_tensors_that_they_give(plan: PlanOf) -> None:
    pairs = [(one and one.name, two and two.name) for one, two in aligned(plan("vote"), plan("outer"))]
    assert pairs[:2] == [("rows", "vote/rows"), ("left", "vote/left")]
    assert (None, "vote#2/right") in pairs


def test_where_the_names_differ_the_place_and_the_models_names_decide(plan: PlanOf) -> None:
    config = {"backend": "python", "input": [{"name": "rows"}], "output": [{"name": "scores"}]}
    other = plan_of("left_v2", "", lambda model, version: config)
    (pair,) = compared(plan("left"), {"scores": np.zeros(2)}, other, {"scores": np.ones(2)}, 0.5)
    assert (pair.step, pair.other, pair.worst) == ("left", "left_v2", 1.0)


def test_the_first_step_that_differs_is_named_though_later_ones_differ_more(plan: PlanOf) -> None:
    vote = plan("vote")
    tensors = {"table": np.zeros(2), "l": np.zeros(2), "r": np.zeros(2), "label": texts("a"), "score": np.zeros(1)}
    others = {**tensors, "l": np.full(2, 0.01), "score": np.ones(1)}
    first = first_divergence(compared(vote, tensors, vote, others, 1e-3))
    assert first is not None
    assert first.step == "left"
    assert first_divergence(compared(vote, tensors, vote, others, 2.0)) is None


@pytest.mark.parametrize("missing", ["table", "label"])
def test_a_tensor_that_never_came_is_not_compared(plan: PlanOf, missing: str) -> None:
    vote = plan("vote")
    tensors = {"table": np.zeros(2), "label": texts("a")}
    others = {name: value for name, value in tensors.items() if name != missing}
    assert first_divergence(compared(vote, tensors, vote, others, 0.0)) is None
