"""Which candidate to measure next, and which of them to believe. Pure: it measures through a function.

The search goes from knob to knob, the busiest step's first, and returns to the first after every change until none
helps any more: what a knob is worth depends on the others. The values of one knob race. In every round each value left
has a turn, with the settings so far among them, and only its ratio to these within the round counts, because a shared
machine is faster in one minute than in the next. Values that are clearly behind leave after each round (as in Maron and
Moore's races, 1994), one that is clearly ahead of all others is taken, and the rest are judged by the median of their
ratios. When none helps any more, what is not far behind gets a second look, in which all earlier ratios count: one
unlucky turn must not cost a value its place. In the end the best few and the settings of the beginning have further
turns side by side, and the beginning stays unless something beats it there.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.figures import Measurement
from conch_tools.tune.space import Candidate, Knob

Measure = Callable[[Candidate], Measurement]
"""One turn. Raises CandidateRejected."""

SLACKS = (0.07, 0.04, 0.02, 0.0)
"""For each round of a race, how far behind the best a value may be to stay."""
LEAST_GAIN = 0.01
"""A change that gains less is not worth a line in a configuration."""
WORTH_ANOTHER_LOOK = 0.94
"""A value further behind than this is not tried again after another knob was changed."""
FINALISTS = 4
FINAL_ROUNDS = 5
AHEAD_IN = 0.75
"""Part of the final rounds in which whatever replaces the settings that there are must be ahead of them."""
BEYOND_LIMIT = 1e-6
"""Factor that keeps whatever misses the latency limit behind whatever is within it."""


@dataclass(frozen=True)
class Objective:
    """The most requests a second, at a p99 latency of no more than the limit if there is one."""

    latency_limit_ms: float | None = None

    def value(self, measured: Measurement) -> float:
        """Larger is better. Beyond the limit the one nearer to it is."""
        limit, traffic = self.latency_limit_ms, measured.traffic
        if limit is None or traffic.p99_ms <= limit:
            return traffic.requests_per_s
        return BEYOND_LIMIT * limit / traffic.p99_ms


@dataclass(frozen=True)
class Trial:
    """One value of a knob against the settings so far."""

    candidate: Candidate
    ratio: float
    """Median over the rounds of its value to theirs in the same round."""
    rounds: int
    measured: Measurement
    """Its last turn."""
    against: Measurement
    """Theirs in the same round."""


@dataclass(frozen=True)
class Race:
    """What became of one knob."""

    knob: Knob
    before: Candidate
    trials: Sequence[Trial]
    """The best first."""
    winner: Trial | None
    """None where the settings so far stay."""


@dataclass
class Findings:
    """What a search has found so far; it grows while the search runs."""

    races: list[Race] = field(default_factory=list)
    rejected: dict[Candidate, str] = field(default_factory=dict)
    """Candidates that did not load, failed requests or answered wrongly, with the reason."""
    turns: int = 0
    complete: bool = False
    """Whether every knob was looked at until none helped; otherwise the time was over."""
    final: dict[Candidate, list[Measurement]] = field(default_factory=dict)
    """The turns of the finalists and of the beginning, side by side."""


class OutOfTime(Exception):
    """The next turn would end after the time that the search has."""


class Search:
    """One search; `run` it, then `decide`. `findings` can be read at any time."""

    def __init__(
        self,
        start: Candidate,
        measure: Measure,
        objective: Objective,
        on_race: Callable[[Race], None] = lambda race: None,
    ) -> None:
        """`on_race` is called with every race when it is over."""
        self.findings = Findings()
        self._on_race = on_race
        self.best = start
        self._start, self._measure, self._objective = start, measure, objective
        self._worth: dict[Candidate, float] = {start: 1.0}
        """Of every candidate raced, what it is worth beside the start, by the ratios on the way."""
        self._far_behind: set[tuple[Knob, int]] = set()
        """Values of knobs, by their index, that are not worth another race."""
        self._ratios_against: dict[Candidate, dict[Candidate, list[float]]] = defaultdict(lambda: defaultdict(list))
        """By the settings so far: each candidate's ratios to them, of all its races."""
        self._second_look = False
        self._has_time: Callable[[], bool] = lambda: True

    def run(self, knobs: Sequence[Knob], has_time: Callable[[], bool] = lambda: True) -> None:
        """Race the knobs until none helps at a second look either, or until `has_time` says that a turn would be late.

        Raises CandidateRejected when the settings so far fail.
        """
        self._has_time = has_time
        unhelpful = 0
        try:
            for knob in itertools.cycle(knobs):
                unhelpful = 0 if self._race(knob) else unhelpful + 1
                if unhelpful == len(knobs):
                    self.findings.complete = True
                    if self._second_look:
                        break
                    self._second_look, unhelpful = True, 0
        except OutOfTime:
            pass

    def decide(self, rounds: int = FINAL_ROUNDS) -> Candidate:
        """The best of the finalists, measured side by side with the start; the start unless one beats it there.

        Raises CandidateRejected when the start fails.
        """
        sound = [each for each in self._worth if each not in self.findings.rejected]
        ranked = sorted(sound, key=lambda candidate: self._worth[candidate], reverse=True)
        entries = list(dict.fromkeys([self._start, self.best, *ranked]))[: FINALISTS + 1]
        turns: dict[Candidate, list[Measurement]] = {candidate: [] for candidate in entries}
        self.findings.final = turns
        for number in range(rounds):
            for candidate in entries if number % 2 == 0 else reversed(entries):
                measured = self._turn(candidate)
                if measured is not None:
                    turns[candidate].append(measured)
        whole = {candidate: measured for candidate, measured in turns.items() if len(measured) == rounds}
        if self._start not in whole:
            raise CandidateRejected(f"the settings that there are fail now: {self.findings.rejected[self._start]}")
        ratios = {each: self._ratios(measured, whole[self._start]) for each, measured in whole.items()}
        medians = {each: statistics.median(ratios[each]) for each in ratios if _is_ahead(ratios[each])}
        top = max(medians, key=lambda candidate: medians[candidate], default=self._start)
        # The search itself speaks for its best: what is no more than level with it does not replace it.
        if self.best not in medians or medians[top] > medians[self.best] * (1 + LEAST_GAIN):
            self.best = top
        return self.best

    def _ratios(self, measured: Sequence[Measurement], against: Sequence[Measurement]) -> list[float]:
        """Round by round."""
        value = self._objective.value
        return [value(one) / value(other) for one, other in zip(measured, against, strict=True)]

    def _race(self, knob: Knob) -> bool:
        """Race a knob's values against the best so far; whether one of them is the best now."""
        before = self.best
        values = {each: (knob, index) for index, each in enumerate(knob.settings(before)) if each != before}
        field = [each for each in values if each not in self.findings.rejected and values[each] not in self._far_behind]
        trials, left = self._heats(before, field)
        winner = next((trials[each] for each in left if trials[each].ratio >= 1 + LEAST_GAIN), None)
        if trials:
            self.findings.races.append(Race(knob, before, _ranked(trials.values()), winner))
            self._on_race(self.findings.races[-1])
        bar = WORTH_ANOTHER_LOOK * (winner.ratio if winner else 1.0)
        self._far_behind |= {values[each] for each, trial in trials.items() if trial.ratio < bar}
        if winner is not None:
            self.best = winner.candidate
        return winner is not None

    def _heats(self, before: Candidate, field: list[Candidate]) -> tuple[dict[Candidate, Trial], list[Candidate]]:
        """The rounds of a race: how each did, and who is left in the end, the best first."""
        ratios = self._ratios_against[before]
        trials: dict[Candidate, Trial] = {}
        for number, slack in enumerate(SLACKS):
            if not field:
                break
            turns = self._round(field, before, backwards=number % 2 == 1)
            against = turns.pop(before)
            for candidate, turn in turns.items():
                ratios[candidate] += self._ratios([turn], [against])
                seen = ratios[candidate]
                trials[candidate] = Trial(candidate, statistics.median(seen), len(seen), turn, against)
            ranked = _ranked(trials[candidate] for candidate in turns)
            self._note_worth(before, ranked)
            field = _survivors(ranked, slack)
            if _is_decided(ranked, slack):
                break
        return trials, field

    def _note_worth(self, before: Candidate, trials: Iterable[Trial]) -> None:
        """After every round: what leads when the time is over has a place among the finalists."""
        for trial in trials:
            self._worth[trial.candidate] = self._worth[before] * trial.ratio

    def _round(self, left: Sequence[Candidate], before: Candidate, backwards: bool) -> dict[Candidate, Measurement]:
        """A turn of each, the settings so far in the middle: so they are as near as can be to everyone."""
        order = [*left[: len(left) // 2], before, *left[len(left) // 2 :]]
        turns: dict[Candidate, Measurement] = {}
        for candidate in reversed(order) if backwards else order:
            # The first round is always finished: a tuning that looked at nothing would be none.
            if len(self._worth) > 1 and not self._has_time():
                raise OutOfTime
            measured = self._turn(candidate)
            if measured is None and candidate == before:
                # Without it the round is worth nothing, and it did answer before.
                measured = self._turn(candidate)
            if measured is not None:
                turns[candidate] = measured
        if before not in turns:
            raise CandidateRejected(f"the settings so far fail now: {self.findings.rejected[before]}")
        return turns

    def _turn(self, candidate: Candidate) -> Measurement | None:
        self.findings.turns += 1
        try:
            measured = self._measure(candidate)
        except CandidateRejected as problem:
            self.findings.rejected[candidate] = str(problem)
            return None
        self.findings.rejected.pop(candidate, None)
        return measured


def _is_ahead(ratios: Sequence[float]) -> bool:
    """By enough to be worth it, and in so many of the rounds that noise is an unlikely reason."""
    return statistics.median(ratios) >= 1 + LEAST_GAIN and sum(each > 1 for each in ratios) >= AHEAD_IN * len(ratios)


def _ranked(trials: Iterable[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: trial.ratio, reverse=True)


def _survivors(ranked: Sequence[Trial], slack: float) -> list[Candidate]:
    """What is not clearly behind the best, or behind the settings so far."""
    return [trial.candidate for trial in ranked if trial.ratio >= max(1.0, ranked[0].ratio) * (1 - slack)]


def _is_decided(ranked: Sequence[Trial], slack: float) -> bool:
    """Whether the best is clearly ahead of all others and of the settings so far."""
    others = [1.0, *(trial.ratio for trial in ranked[1:])]
    return bool(ranked) and max(others) < ranked[0].ratio * (1 - slack)
