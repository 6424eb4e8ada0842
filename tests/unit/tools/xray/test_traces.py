"""Triton's trace files."""

import json
from typing import Any

import pytest

from conch_tools.xray.traces import request_of, traced_in

MS = 1_000_000


def entries(id: int, model: str, parent: int | None, **at_ms: float) -> list[dict[str, Any]]:
    head = {"id": id, "model_name": model, "model_version": 1, "request_id": "r"}
    stamps = [{"id": id, "timestamps": [{"name": name, "ns": round(MS * (1000 + ms))}]} for name, ms in at_ms.items()]
    return [{**head, **({} if parent is None else {"parent_id": parent})}, *stamps]


def step(id: int, model: str, parent: int | None, begin: float) -> list[dict[str, Any]]:
    """0.1 ms to the queue, 1 ms there, 0.5 ms of input, 4 ms of compute, 0.25 ms of output."""
    return entries(
        id,
        model,
        parent,
        REQUEST_START=begin,
        QUEUE_START=begin + 0.1,
        COMPUTE_START=begin + 1.1,
        COMPUTE_INPUT_END=begin + 1.6,
        COMPUTE_OUTPUT_START=begin + 5.6,
        COMPUTE_END=begin + 5.85,
        REQUEST_END=begin + 5.9,
    )


def test_a_step_waits_takes_in_computes_and_gives_out() -> None:
    whole = entries(1, "e", None, REQUEST_START=0, QUEUE_START=0.1, REQUEST_END=7, INFER_RESPONSE_COMPLETE=6.5)
    traced = traced_in(json.dumps([*step(2, "m", 1, 0.5), *whole]))
    request = request_of(traced[1], traced)
    assert request.total_ms == pytest.approx(6.5)
    span = request.spans["m"]
    assert span.start_ms == pytest.approx(0.6)
    parts = span.parts
    assert (parts.queue_ms, parts.input_ms, parts.compute_ms, parts.output_ms) == pytest.approx((1, 0.5, 4, 0.25))


def test_a_plain_model_is_its_own_step() -> None:
    (traced,) = traced_in(json.dumps(step(1, "m", None, 0)))
    assert request_of(traced, [traced]).spans.keys() == {"m"}


def test_nested_ensembles_and_models_asked_twice_are_named_as_in_the_plan() -> None:
    whole = entries(1, "outer", None, REQUEST_START=0, REQUEST_END=30)
    inner = entries(2, "inner", 1, REQUEST_START=0, QUEUE_START=0, REQUEST_END=10)
    steps = [*step(5, "m", 1, 20), *step(4, "m", 1, 12), *step(3, "m", 2, 1)]
    traced = traced_in(json.dumps([*steps, *inner, *whole]))
    request = request_of(traced[-1], traced)
    assert {name: round(span.start_ms, 1) for name, span in request.spans.items()} == {
        "inner/m": 1.1,
        "m": 12.1,
        "m#2": 20.1,
    }


def test_an_answer_from_the_response_cache_has_no_phases() -> None:
    whole = entries(1, "e", None, REQUEST_START=0, REQUEST_END=2)
    cached = entries(2, "m", 1, REQUEST_START=0.5, QUEUE_START=0.5, REQUEST_END=1)
    traced = traced_in(json.dumps([*cached, *whole]))
    span = request_of(traced[1], traced).spans["m"]
    assert span.cached
    assert span.parts.total_ms == pytest.approx(0.5)


@pytest.mark.parametrize("text", ['[{"id":1,"model_name":"m"', "", "{}x", '[{"timestamps":[{"name":"a"}]}]', "[3]"])
def test_a_file_that_is_not_written_to_its_end_is_no_trace_yet(text: str) -> None:
    with pytest.raises(ValueError):
        traced_in(text)


def test_a_trace_without_a_time_says_so() -> None:
    traced = traced_in(json.dumps([*entries(2, "m", 1, REQUEST_START=0, COMPUTE_START=1), *entries(1, "e", None)]))
    with pytest.raises(ValueError, match="the trace of `e` does not say 'REQUEST_START'"):
        request_of(traced[1], traced)
