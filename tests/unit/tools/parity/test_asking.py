"""Every case is asked once in every way, whatever it has in common with others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from conch_tools.build.reference import text_items
from conch_tools.errors import NoAnswer, NoAnswerInTime
from conch_tools.parity.asking import (
    ALONE,
    CONCURRENT,
    WAYS,
    batches_of,
    concurrently,
    in_batches,
    measured,
    one_by_one,
    rows_of,
    ways_of,
)
from conch_tools.parity.protocols import LATEST, Tensors


class Double:
    """A model that answers twice its numbers, and remembers the sizes of its requests."""

    def __init__(
        self, answer: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda x: 2 * x, largest: int = 64
    ) -> None:
        self.sizes: list[int] = []
        self.largest = largest
        self._answer, self._lock = answer, threading.Lock()

    def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
        with self._lock:
            self.sizes.append(len(tensors["x"]))
        return {"y": self._answer(tensors["x"])}

    def inputs(self, model: str) -> list[str]:
        return ["x"]

    def largest_batch(self, model: str) -> int:
        return self.largest


def numbers(count: int) -> list[dict[str, Any]]:
    return [{"x": np.array([number], dtype=np.float32)} for number in range(count)]


def doubled(count: int) -> list[dict[str, Any]]:
    return [{"y": 2 * each["x"]} for each in numbers(count)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2, 41, 50])
def test_every_case_is_asked_once(way: str, count: int) -> None:
    answers = WAYS[way](Double(), "double", numbers(count))
    assert sorted(answer.index for answer in answers) == list(range(count))
    outcome = measured(way, answers, doubled(count), tolerance=0.0)
    assert (outcome.figures.cases, outcome.differences) == (count, [])


@pytest.mark.parametrize("way", WAYS)
def test_a_model_without_batches_takes_each_case_as_it_is(way: str) -> None:
    shapes: list[tuple[int, ...]] = []

    def double(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        shapes.append(x.shape)
        return 2 * x

    answers = WAYS[way](Double(double, largest=0), "double", numbers(9))
    assert measured(way, answers, doubled(9), tolerance=0.0).differences == []
    assert shapes == [(1,)] * 9


def test_a_model_without_batches_is_asked_in_none() -> None:
    assert list(ways_of(Double(largest=0), "double")) == [ALONE, CONCURRENT]
    assert ways_of(Double(largest=1), "double") == WAYS


@pytest.mark.parametrize("way", WAYS)
def test_the_version_that_is_named_is_asked(way: str) -> None:
    class Versions(Double):
        def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
            return {"y": tensors["x"] * int(version)}

    assert measured(way, WAYS[way](Versions(), "times", numbers(3), "2"), doubled(3), tolerance=0.0).differences == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, NoAnswerInTime("double", "30 s")])
def test_callers_that_wait_keep_nobody_from_ending(interrupt: BaseException) -> None:
    released, done = threading.Event(), []

    def wait(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if x == 0:
            raise interrupt
        released.wait(20)
        done.append(x)
        return x

    try:
        with pytest.raises((KeyboardInterrupt, NoAnswerInTime)):
            concurrently(Double(wait), "double", numbers(50))
        assert done == []
    finally:
        released.set()


def test_batches_of_every_size_cover_the_corpus() -> None:
    assert [len(batch) for batch in batches_of(50)] == [2, 7, 32, 2, 7]
    assert [len(batch) for batch in batches_of(9, largest=4)] == [2, 4, 3]
    assert list(batches_of(0)) == []


def test_requests_hold_cases_of_one_shape_and_of_the_same_whole_numbers() -> None:
    horizons = [{"x": np.zeros(size), "horizon": np.array([steps])} for size, steps in ((3, 1), (3, 2), (3, 1), (4, 1))]
    model = Double(lambda x: x[:, :1])
    answers = in_batches(model, "double", horizons)
    assert [list(answer.batch) for answer in answers] == [[0], [1], [2], [3]]
    model = Double(lambda x: x[:, :1])
    in_batches(model, "double", [horizons[0], horizons[2]])
    assert model.sizes == [2]


def test_a_refusal_is_the_answer_of_every_case_of_the_request() -> None:
    def refuse_three(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if (x == 3).any():
            raise NoAnswer("not three")
        return 2 * x

    alone = measured("", one_by_one(Double(refuse_three), "double", numbers(9)), doubled(9), 0.0)
    assert [(each.index, each.problem) for each in alone.differences] == [(3, "not three")]
    batches = measured("", in_batches(Double(refuse_three), "double", numbers(9)), doubled(9), 0.0)
    assert [each.index for each in batches.differences] == list(range(2, 9))
    assert batches.figures.unlike == 7


def test_rows_that_are_missing_are_told_of_every_case_of_the_request() -> None:
    outcome = measured("", in_batches(Double(lambda x: 2 * x[:1]), "double", numbers(2)), doubled(2), 0.0)
    assert [each.problem for each in outcome.differences] == ["`y` has 1 rows for 2 cases"] * 2


def test_all_cases_are_compared_after_one_that_differs() -> None:
    outcome = measured("", one_by_one(Double(lambda x: x), "double", numbers(4)), doubled(4), 0.5)
    assert [each.index for each in outcome.differences] == [1, 2, 3]
    assert outcome.figures.worst_difference == 3.0


def test_a_refusal_where_one_is_expected_is_the_same_and_an_answer_is_not() -> None:
    def refuse(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise NoAnswer("never")

    assert measured("", one_by_one(Double(refuse), "double", numbers(1)), [None], 0.0).differences == []
    (difference,) = measured("", one_by_one(Double(), "double", numbers(1)), [None], 0.0).differences
    assert difference.problem == "there is an answer where a refusal is expected"


def test_a_references_tensors_are_rows_case_by_case() -> None:
    rows: Sequence[Any] = rows_of({"a": [np.array([1]), np.array([2])], "b": [np.array([3]), np.array([4])]})
    assert [{name: value.tolist() for name, value in row.items()} for row in rows] == [
        {"a": [1], "b": [3]},
        {"a": [2], "b": [4]},
    ]


def test_texts_of_any_length_meet_in_one_request() -> None:
    class Echo(Double):
        def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
            self.sizes.append(len(tensors["text"]))
            return tensors

    echo = Echo()
    in_batches(echo, "echo", text_items(["a", "longer text"]))
    assert echo.sizes == [2]
