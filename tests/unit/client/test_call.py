from __future__ import annotations

import math

import pytest

from conch_client import DeadlineExceeded, InvalidInput
from conch_client._call import Call, Deadline, checked_timeout


def call_of(timeout_s: float) -> Call:
    return Call(endpoint="host:8001", deadline=Deadline(timeout_s), model="m", version="2", request_id="r")


def test_the_time_left_is_at_most_the_timeout_and_shrinks() -> None:
    call = call_of(10)
    first, second = call.time_left_s(), call.time_left_s()
    assert first is not None and second is not None
    assert 9 < second <= first <= 10


def test_microseconds_are_the_same_time_in_whole_numbers() -> None:
    left = call_of(10).time_left_us()
    assert isinstance(left, int) and 9_000_000 < left <= 10_000_000


@pytest.mark.parametrize("timeout_s", [math.inf, 1e300])
def test_no_limit_or_one_beyond_all_clocks_is_none(timeout_s: float) -> None:
    assert call_of(timeout_s).time_left_s() is None
    assert call_of(timeout_s).time_left_us() is None


def test_a_call_without_time_left_does_not_start_its_next_step() -> None:
    with pytest.raises(DeadlineExceeded, match="no answer within 1e-09 s") as caught:
        call_of(1e-9).time_left_s()
    assert (caught.value.model, caught.value.version, caught.value.request_id) == ("m", "2", "r")


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, "soon", None])
def test_a_timeout_is_a_positive_number(timeout_s: float) -> None:
    with pytest.raises(InvalidInput, match="timeout_s is a positive number"):
        checked_timeout(timeout_s)
