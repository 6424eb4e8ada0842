"""Sentences say what changed and by how much, from the figures alone."""

from __future__ import annotations

from collections.abc import Callable

from conch_tools.tune.explain import bottleneck, busiest_first, finding
from conch_tools.tune.figures import Measurement
from conch_tools.tune.search import Objective, Search
from conch_tools.tune.space import Candidate, Knob

MODEL, TOKENIZE = "pipe_model", "pipe_tokenize"
OWN = (MODEL, TOKENIZE)
MakeTurn = Callable[..., Measurement]
DELAY = Knob("queue delay", MODEL, ({"queue_delay_us": 0}, {"queue_delay_us": 2000}))


def searched(start: Candidate, otherwise: Measurement, usual: Measurement, limit: float | None = None) -> str:
    search = Search(start, lambda candidate: usual if candidate == start else otherwise, Objective(limit))
    search.run([DELAY])
    return finding(search.findings.races[0])


def test_a_change_that_won_is_told_with_what_triton_counted(start: Candidate, turn: MakeTurn) -> None:
    won = turn(330, p99_ms=80, average_batch=6.0, compute_ms=16.0)
    assert searched(start, won, turn(300)) == (
        "queue delay of pipe_model: 2000 µs instead of 0 µs: +10.0% over 1 round. "
        "pipe_model: average batch 4.0 → 6.0, compute 3.0 → 2.7 ms a row, p99 90.0 → 80.0 ms."
    )


def test_a_change_that_lost_is_told_as_well(start: Candidate, turn: MakeTurn) -> None:
    lost = turn(240, queue_ms=30.0)
    assert searched(start, lost, turn(300)) == (
        "queue delay of pipe_model: 0 µs stays. The next best, 2000 µs: -20.0% over 1 round. "
        "pipe_model: queue 20.0 → 30.0 ms a request."
    )


def test_the_limit_is_named_where_it_decided(start: Candidate, turn: MakeTurn) -> None:
    assert "p99 90 → 140 ms, across the limit" in searched(start, turn(400, p99_ms=140), turn(300), limit=100.0)


def test_figures_that_hardly_changed_are_left_out(start: Candidate, turn: MakeTurn) -> None:
    assert searched(start, turn(301), turn(300)).endswith("pipe_model does the same as before.")


def test_the_step_in_the_way_is_named_and_idle_ones_are_left_alone(turn: MakeTurn) -> None:
    assert busiest_first(turn(300), OWN) == [MODEL]
    assert bottleneck(turn(300), OWN) == (
        "pipe_model holds up the others: its instances are busy 97% of the time, 12.0 ms for a batch of 4.0, "
        "and a request waits 20.0 ms for it. Left as they are, for they are hardly busy: pipe_tokenize (5%)."
    )


def test_a_step_that_lets_requests_wait_while_it_is_idle_is_in_the_way(turn: MakeTurn) -> None:
    measured = turn(10, busy=0.01, queue_ms=40.0)
    assert busiest_first(measured, OWN) == [MODEL]


def test_one_step_is_tuned_even_when_all_are_idle(turn: MakeTurn) -> None:
    assert busiest_first(turn(10, busy=0.06, queue_ms=0.0), OWN) == [MODEL]


def test_a_step_of_another_pipeline_is_named_and_not_tuned(turn: MakeTurn) -> None:
    assert busiest_first(turn(300), [TOKENIZE]) == [TOKENIZE]
    assert "It belongs to another pipeline: tune that one." in bottleneck(turn(300), [TOKENIZE])
