"""Rows through another model: all of them, in order, in chunks within its limits, and its errors with their code."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch_steps.calls import CHUNKS_AT_ONCE, ModelCalls, like_length_chunks
from conch_steps.errors import CallFailed
from conch_steps.serving import answer_each

UNAVAILABLE = 6


class SumOfTokens:
    """Stands for Triton's BLS: a model that answers each row with the sum of its ids, or refuses long requests."""

    def __init__(self, most_rows: int = 100, takes_s: float = 0.0) -> None:
        self.most_rows = most_rows
        self.takes_s = takes_s
        self.now = self.most_at_once = 0
        self.rows: list[int] = []
        self._lock = threading.Lock()
        self.InferenceRequest = self._request

    def Tensor(self, name: str, value: Any) -> Any:
        return SimpleNamespace(name=name, value=value, as_numpy=lambda: value)

    def get_output_tensor_by_name(self, answer: Any, name: str) -> Any:
        return answer.tensors[name]

    def _request(self, model_name: str, requested_output_names: list[str], inputs: list[Any]) -> Any:
        tensors = {tensor.name: tensor.value for tensor in inputs}
        assert model_name == "adder" and requested_output_names == ["total"]
        return SimpleNamespace(exec=lambda: self._answer(tensors))

    def _answer(self, tensors: dict[str, Any]) -> Any:
        count = len(tensors["length"])
        with self._lock:
            self.rows.append(count)
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        time.sleep(self.takes_s)
        with self._lock:
            self.now -= 1
        refused = count > self.most_rows
        error = SimpleNamespace(message=lambda: "Exceeds maximum queue size", code=lambda: UNAVAILABLE)
        total = tensors["input_ids"].sum(axis=1, keepdims=True)
        return SimpleNamespace(
            has_error=lambda: refused, error=lambda: error, tensors={"total": self.Tensor("total", total)}
        )


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 9), st.integers(1, 200))
def test_chunks_hold_every_row_once_and_keep_both_limits(lengths: list[int], rows: int, tokens: int) -> None:
    chunks = like_length_chunks(lengths, rows, tokens)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(lengths)))
    for chunk in chunks:
        assert len(chunk) <= rows
        assert len(chunk) == 1 or len(chunk) * max(lengths[index] for index in chunk) <= tokens


def test_every_row_gets_its_own_answer_in_order() -> None:
    triton = SumOfTokens()
    rows = [[number] * (1 + number % 7) for number in range(1, 50)]
    answers = ModelCalls(triton, "adder", max_rows=8).token_rows(rows, None, "total")
    assert [int(answer[0]) for answer in answers] == [sum(row) for row in rows]
    assert max(triton.rows) <= 8


def test_a_text_of_many_chunks_leaves_the_model_free_for_others_between_them() -> None:
    triton = SumOfTokens(takes_s=0.01)
    calls = ModelCalls(triton, "adder", max_rows=1)
    with ThreadPoolExecutor() as callers:
        long = callers.submit(calls.token_rows, [[1]] * 40, None, "total")
        calls.token_rows([[2]], None, "total")
        assert not long.done()
    assert triton.most_at_once <= CHUNKS_AT_ONCE + 1


def test_chunks_that_nobody_waits_for_any_more_are_not_asked(pb_utils: Any, make_request: Any) -> None:
    triton = SumOfTokens(takes_s=0.01)
    calls = ModelCalls(triton, "adder", max_rows=1)
    request = make_request({}, timeout_us=50_000)
    (answer,) = answer_each(pb_utils, [request], lambda _: {"total": calls.token_rows([[1]] * 500, None, "total")[0]})
    assert answer.error.code == pb_utils.TritonError.UNAVAILABLE
    assert len(triton.rows) < 100


def test_an_error_of_the_model_keeps_its_code_and_names_the_model() -> None:
    with pytest.raises(CallFailed, match="in model `adder`: Exceeds maximum queue size") as failed:
        ModelCalls(SumOfTokens(most_rows=1), "adder", max_rows=8).token_rows([[1], [2]], None, "total")
    assert failed.value.code == UNAVAILABLE
