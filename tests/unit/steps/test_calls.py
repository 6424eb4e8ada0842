"""Rows through another model: all of them, in order, in chunks within its limits, and its errors with their code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch_steps.calls import CHUNKS_AT_ONCE, ModelCalls, like_length_chunks
from conch_steps.errors import CallFailed
from conch_steps.serving import answer_each
from conch_tools.errors import StepFailed
from conch_tools.step_kit import calls

CallsTo = Callable[..., ModelCalls]


class SumOfTokens:
    """Stands for a model that answers each row with the sum of its ids, or refuses long requests."""

    def __init__(self, most_rows: int = 100, takes_s: float = 0.0, refusal: str = "too many rows") -> None:
        self.most_rows, self.takes_s, self.refusal = most_rows, takes_s, refusal
        self.now = self.most_at_once = 0
        self.rows: list[int] = []
        self._lock = threading.Lock()

    def __call__(self, tensors: dict[str, Any]) -> dict[str, Any]:
        count = len(tensors["length"])
        with self._lock:
            self.rows.append(count)
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        time.sleep(self.takes_s)
        with self._lock:
            self.now -= 1
        if count > self.most_rows:
            raise StepFailed("UNAVAILABLE", self.refusal)
        return {"total": tensors["input_ids"].sum(axis=1, keepdims=True), "unwanted": tensors["input_ids"]}


@pytest.fixture
def calls_to(pb_utils: ModuleType, runtime: Any) -> CallsTo:
    """Calls to a model `adder` through Triton's module."""

    def make(model: SumOfTokens, max_rows: int) -> ModelCalls:
        runtime.call = lambda request, decoupled: calls.call({"adder": model}, request, decoupled)
        return ModelCalls(pb_utils, "adder", max_rows)

    return make


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 9), st.integers(1, 200))
def test_chunks_hold_every_row_once_and_keep_both_limits(lengths: list[int], rows: int, tokens: int) -> None:
    chunks = like_length_chunks(lengths, rows, tokens)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(lengths)))
    for chunk in chunks:
        assert len(chunk) <= rows
        assert len(chunk) == 1 or len(chunk) * max(lengths[index] for index in chunk) <= tokens


def test_every_row_gets_its_own_answer_in_order(calls_to: CallsTo) -> None:
    adder = SumOfTokens()
    rows = [[number] * (1 + number % 7) for number in range(1, 50)]
    answers = calls_to(adder, max_rows=8).token_rows(rows, None, "total")
    assert [int(answer[0]) for answer in answers] == [sum(row) for row in rows]
    assert max(adder.rows) <= 8


def test_a_text_of_many_chunks_leaves_the_model_free_for_others_between_them(
    calls_to: CallsTo,
) -> None:
    adder = SumOfTokens(takes_s=0.01)
    model = calls_to(adder, max_rows=1)
    with ThreadPoolExecutor() as callers:
        long = callers.submit(model.token_rows, [[1]] * 40, None, "total")
        model.token_rows([[2]], None, "total")
        assert not long.done()
    assert adder.most_at_once <= CHUNKS_AT_ONCE + 1


def test_chunks_that_nobody_waits_for_any_more_are_not_asked(
    pb_utils: Any, make_request: Any, calls_to: CallsTo
) -> None:
    adder = SumOfTokens(takes_s=0.01)
    model = calls_to(adder, max_rows=1)
    request = make_request({}, timeout_us=50_000)
    (answer,) = answer_each(pb_utils, [request], lambda _: {"total": model.token_rows([[1]] * 500, None, "total")[0]})
    assert answer.error().code() == pb_utils.TritonError.UNAVAILABLE
    assert len(adder.rows) < 100


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("Exceeds maximum queue size", "UNAVAILABLE"),
        ("Model 'adder' is not ready.", "UNAVAILABLE"),
        ("x < 0", "INTERNAL"),
    ],
)
def test_an_error_of_the_model_names_it_and_tells_by_its_words_whether_it_may_pass(
    refusal: str, code: str, pb_utils: Any, make_request: Any, calls_to: CallsTo
) -> None:
    model = calls_to(SumOfTokens(most_rows=1, refusal=refusal), max_rows=8)
    with pytest.raises(CallFailed):
        model.token_rows([[1], [2]], None, "total")
    (answer,) = answer_each(
        pb_utils, [make_request({})], lambda _: {"total": model.token_rows([[1], [2]], None, "total")[0]}
    )
    assert answer.error().message() == f"in model `adder`: {refusal}"
    assert answer.error().code() == getattr(pb_utils.TritonError, code)
