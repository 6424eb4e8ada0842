"""The search finds settings near the best although every turn lies a little, and says what it did."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest

from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.figures import Measurement
from conch_tools.tune.search import FINAL_ROUNDS, FINALISTS, Objective, Search
from conch_tools.tune.space import Bounds, Candidate, Knob, knobs, points

MODEL, TOKENIZE = "pipe_model", "pipe_tokenize"
MakeTurn = Callable[..., Measurement]
TURNS = 80
"""What ten minutes have room for."""
NOISE, DRIFT = 0.015, 0.005
"""Relative standard deviations: of a turn, and of the machine's step from one turn to the next."""

AT_WORK = {1: 0.55, 2: 1.0, 4: 0.93}
DELAYED = {0: 1.0, 500: 1.01, 1000: 1.03, 2000: 1.05, 5000: 0.97}
PREFERRED = {(): 1.0, (4,): 0.96, (8,): 1.04, (16,): 1.0}


def truth(candidate: Candidate) -> float:
    """Requests a second of a machine whose knobs depend on each other: a delay helps several instances only."""
    model, tokenize = candidate.step(MODEL), candidate.step(TOKENIZE)
    assert model.threads is not None and model.queue_delay_us is not None
    used = model.instances * model.threads
    rate = 300 * AT_WORK[used] * (0.95 if model.threads > 1 else 1.0) * (0.88 if model.spinning else 1.0)
    delayed = DELAYED[model.queue_delay_us]
    rate *= (delayed if model.instances > 1 else 2 - delayed) * PREFERRED[model.preferred]
    return rate * (1.0 if tokenize.instances == 1 else 1.02 if used <= 2 else 0.98)


@pytest.fixture
def chosen(start: Candidate) -> list[Knob]:
    return knobs(start, Bounds(2, 16, {}), [MODEL, TOKENIZE])


@pytest.mark.parametrize("seed", range(8))
def test_it_reaches_97_percent_of_the_best_on_a_noisy_machine(
    start: Candidate, chosen: list[Knob], turn: MakeTurn, seed: int
) -> None:
    chance, speed = random.Random(seed), [1.0]

    def measure(candidate: Candidate) -> Measurement:
        speed[0] *= 1 + chance.gauss(0, DRIFT)
        return turn(truth(candidate) * speed[0] * (1 + chance.gauss(0, NOISE)))

    search = Search(start, measure, Objective())
    search.run(chosen, lambda: search.findings.turns < TURNS)
    best = max(map(truth, points(start, chosen)))
    assert truth(search.decide()) >= 0.97 * best
    assert search.findings.turns <= TURNS + (FINALISTS + 1) * FINAL_ROUNDS


def test_noise_alone_changes_nothing(start: Candidate, chosen: list[Knob], turn: MakeTurn) -> None:
    kept = []
    for seed in range(10):
        chance = random.Random(seed)

        def measure(candidate: Candidate, chance: random.Random = chance) -> Measurement:
            return turn(300 * (1 + chance.gauss(0, 0.003)))

        search = Search(start, measure, Objective())
        search.run(chosen)
        kept.append(search.decide() == start)
    assert statistics.mean(kept) >= 0.9


def test_the_latency_limit_comes_before_throughput(start: Candidate, turn: MakeTurn) -> None:
    fast = start.changed(MODEL, {"instances": 2})
    slow = Knob("instances", MODEL, ({"instances": 1}, {"instances": 2}))

    def measure(candidate: Candidate) -> Measurement:
        return turn(400, p99_ms=120) if candidate == fast else turn(300, p99_ms=80)

    for limit, expected in ((None, fast), (130.0, fast), (100.0, start)):
        search = Search(start, measure, Objective(limit))
        search.run([slow])
        assert search.decide() == expected


def test_beyond_the_limit_the_nearer_one_wins(start: Candidate, turn: MakeTurn) -> None:
    def measure(candidate: Candidate) -> Measurement:
        return turn(200, p99_ms=150) if candidate.step(MODEL).instances == 2 else turn(300, p99_ms=300)

    search = Search(start, measure, Objective(100.0))
    search.run([Knob("instances", MODEL, ({"instances": 2},))])
    assert search.decide().step(MODEL).instances == 2


def test_a_candidate_that_fails_is_out_and_said(start: Candidate, turn: MakeTurn) -> None:
    def measure(candidate: Candidate) -> Measurement:
        if candidate.step(MODEL).instances == 2:
            raise CandidateRejected("wrong answer: `label` is positive")
        return turn(300)

    search = Search(start, measure, Objective())
    search.run([Knob("instances", MODEL, ({"instances": 2},))])
    assert search.decide() == start
    assert list(search.findings.rejected.values()) == ["wrong answer: `label` is positive"]
    assert search.findings.turns == 2 + FINAL_ROUNDS


def test_settings_that_fail_from_the_beginning_end_the_search(start: Candidate) -> None:
    def measure(candidate: Candidate) -> Measurement:
        raise CandidateRejected("HTTP 500")

    with pytest.raises(CandidateRejected, match="the settings so far fail now: HTTP 500"):
        Search(start, measure, Objective()).run([Knob("instances", MODEL, ({"instances": 2},))])


def test_when_the_time_is_over_the_best_so_far_stands(start: Candidate, chosen: list[Knob], turn: MakeTurn) -> None:
    search = Search(start, lambda candidate: turn(truth(candidate)), Objective())
    search.run(chosen, lambda: search.findings.turns < 14)
    assert not search.findings.complete
    assert truth(search.best) > truth(start)
    assert [str(race.knob) for race in search.findings.races] == ["instances and threads of pipe_model"]


def test_what_led_when_the_time_was_over_is_among_the_finalists(start: Candidate, turn: MakeTurn) -> None:
    search = Search(start, lambda candidate: turn(300 + 15 * candidate.step(MODEL).instances), Objective())
    search.run([Knob("instances", MODEL, ({"instances": 2},))], lambda: search.findings.turns < 3)
    assert search.findings.races == []
    assert search.decide().step(MODEL).instances == 2


def test_a_value_that_was_far_behind_is_not_tried_again(start: Candidate, turn: MakeTurn) -> None:
    tried: list[int] = []
    rates = {1: 300, 2: 100}

    def measure(candidate: Candidate) -> Measurement:
        tried.append(candidate.step(TOKENIZE).instances)
        return turn(rates[candidate.step(TOKENIZE).instances] * candidate.step(MODEL).instances)

    first = Knob("instances", TOKENIZE, ({"instances": 1}, {"instances": 2}))
    second = Knob("instances", MODEL, ({"instances": 1}, {"instances": 2}))
    search = Search(start, measure, Objective())
    search.run([first, second])
    assert tried.count(2) == 1
    assert search.best.step(MODEL).instances == 2
