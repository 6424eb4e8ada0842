"""What lasts is told from what happens once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conch_tools.healing.silence import STOPPED_FOR_S, UNREACHABLE_FOR_S, Reach, Silences, Stops

BUSY_LIMIT_S = 120.0


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_pipeline_that_completes_nothing_for_the_busy_limit_is_stuck(clock: Clock) -> None:
    silences = Silences(BUSY_LIMIT_S, clock)
    assert not silences.is_stuck("mood", 7)
    clock.now += BUSY_LIMIT_S - 1
    assert not silences.is_stuck("mood", 7)
    clock.now += 1
    assert silences.is_stuck("mood", 7)


def test_what_a_pipeline_completes_meanwhile_begins_its_time_anew(clock: Clock) -> None:
    silences = Silences(BUSY_LIMIT_S, clock)
    silences.is_stuck("mood", 7)
    clock.now += BUSY_LIMIT_S
    assert not silences.is_stuck("mood", 8)
    clock.now += BUSY_LIMIT_S
    assert silences.is_stuck("mood", 8)


def test_a_silence_that_ended_is_forgotten(clock: Clock) -> None:
    silences = Silences(BUSY_LIMIT_S, clock)
    silences.is_stuck("mood", 7)
    silences.ended("mood")
    clock.now += BUSY_LIMIT_S
    assert not silences.is_stuck("mood", 7)


def test_a_server_is_lost_when_nobody_reached_it_in_between(clock: Clock) -> None:
    reach = Reach(clock)
    assert not reach.lost()
    clock.now += UNREACHABLE_FOR_S
    assert reach.lost()


def test_two_failures_with_an_answer_between_them_are_no_outage(clock: Clock) -> None:
    reach = Reach(clock)
    reach.lost()
    reach.found()
    clock.now += UNREACHABLE_FOR_S
    assert not reach.lost()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_process_that_stays_stopped_is_told_once_a_stop(clock: Clock, process: subprocess.Popen[bytes]) -> None:
    stops = Stops(clock)
    for _ in range(2):
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert stops.lasting([process.pid]) == set(), "it may be for a moment"
        clock.now += STOPPED_FOR_S
        assert stops.lasting([process.pid]) == {process.pid}
        assert stops.lasting([process.pid]) == set()
        os.kill(process.pid, signal.SIGCONT)
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert stops.lasting([process.pid]) == set()
