"""Demands for an evicted pipeline: bounded, one load for all, and told what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from conch_tools.budget.demands import Brought, Demands
from conch_tools.healing.golden import Outcome, Symptom
from conch_tools.healing.health import Health
from conch_tools.healing.journal import Journal
from conch_tools.healing.metrics import HealingMetrics


@pytest.fixture
def journal() -> Journal:
    """`mood` is well, `moon` evicted."""
    journal = Journal(Health(["mood", "moon"]), HealingMetrics(), lambda _: None)
    journal.asked("mood", Outcome(Symptom.WELL))
    journal.evicted("moon")
    return journal


@pytest.fixture
def demands(journal: Journal) -> Demands:
    return Demands(journal, 10.0)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def test_who_is_there_is_told_at_once(journal: Journal, demands: Demands) -> None:
    assert demands.ask("mood", 0).status is HTTPStatus.OK
    journal.asked("mood", Outcome(Symptom.WRONG, "`label` is 2"))
    assert demands.ask("mood", 0) == Brought(HTTPStatus.SERVICE_UNAVAILABLE, "`label` is 2")
    assert demands.ask("sun", 0) == Brought(HTTPStatus.NOT_FOUND, "there is no pipeline `sun`, but mood, moon")
    assert demands.take(0) is None


def test_two_who_want_the_same_wait_for_one_load(journal: Journal, demands: Demands, pool: ThreadPoolExecutor) -> None:
    both = [pool.submit(demands.ask, "moon", 10) for _ in range(2)]
    wanted = demands.take(10)
    assert wanted == "moon" and demands.take(0.1) is None
    demands.settle("moon", Brought(HTTPStatus.OK))
    assert [each.result(10).status for each in both] == [HTTPStatus.OK] * 2
    assert "conch_load_wait_seconds_count 2.0" in journal.metrics.exposition().decode()


def test_the_wait_is_over_when_it_was_said_to_be_and_the_load_goes_on(demands: Demands) -> None:
    late = demands.ask("moon", 0.05)
    assert late == Brought(HTTPStatus.SERVICE_UNAVAILABLE, "it is still being loaded after 0.05 s")
    assert demands.take(0) == "moon"
    assert demands.ask("moon", 0.05).status is HTTPStatus.SERVICE_UNAVAILABLE
    assert demands.take(0) is None, "it is on its way"
    demands.settle("moon", Brought(HTTPStatus.INSUFFICIENT_STORAGE, "too large"))
    assert demands.ask("moon", 0.05).status is HTTPStatus.SERVICE_UNAVAILABLE
    assert demands.take(0) == "moon", "it is tried again"
