"""What a comparison measured, and the figures that follow from it.

A shared machine is faster in one minute than in the next, so ratios are formed within a round, where contenders ran
seconds apart, and the median of those is the result; medians of the figures themselves are shown beside them.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conch_tools.bench.contenders import Turn
from conch_tools.machine import Machine

CONCH = "Conch"
LIMIT = "in-process limit"
TARGETS: Mapping[str, float] = {LIMIT: 0.70, "FastAPI": 1.7, "LitServe": 1.7}
"""What Conch's throughput is to be, at least, as a multiple of each contender's."""
TARGET_AVERAGE_BATCH = 2.5
NOISY_CORES = 0.1
"""When other processes kept more than this busy, no verdict holds: who waits for all cores at once suffers most."""


@dataclass(frozen=True)
class Measured:
    """One contender's turns, one a round."""

    name: str
    setup: str
    concurrency: int
    turns: Sequence[Turn]
    others_cores: Sequence[float]
    """Cores that foreign processes kept busy during each turn."""

    @property
    def rates(self) -> list[float]:
        """Requests a second in each round."""
        return [turn.requests_per_s for turn in self.turns]

    def median(self, field: str) -> float | None:
        """Median over the rounds of one of Turn's fields; None where the contender has no such figure."""
        values = [value for turn in self.turns if (value := getattr(turn, field)) is not None]
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Comparison:
    """One run: contenders at one concurrency, and Conch alone at further ones."""

    machine: Machine
    versions: Mapping[str, str | None]
    date: str
    command: Sequence[str]
    seconds: float
    texts: str
    contenders: Sequence[Measured]
    alone: Sequence[Measured]

    @property
    def conch(self) -> Measured:
        """The contender all others are compared with."""
        return self._named(CONCH)

    def ratios(self, name: str) -> list[float]:
        """Conch's throughput as a multiple of a contender's, round by round."""
        return [ours / theirs for ours, theirs in zip(self.conch.rates, self._named(name).rates, strict=True)]

    def of_limit(self, measured: Measured) -> float:
        """The median over the rounds of a contender's throughput as a part of the limit's."""
        limit = self._named(LIMIT).rates
        return statistics.median(ours / most for ours, most in zip(measured.rates, limit, strict=True))

    @property
    def others_cores(self) -> float:
        """Cores that foreign processes kept busy in the median turn."""
        return statistics.median(cores for each in (*self.contenders, *self.alone) for cores in each.others_cores)

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was too busy for the figures to mean much."""
        return self.others_cores > NOISY_CORES

    def verdicts(self) -> dict[str, tuple[float, float]]:
        """Each target with what was measured: {what: (measured, at least)}."""
        found = {f"Conch to {name}": (statistics.median(self.ratios(name)), target) for name, target in TARGETS.items()}
        for point in (self.conch, *self.alone):
            batch = point.median("average_batch") or 0.0
            found[f"average batch at concurrency {point.concurrency}"] = (batch, TARGET_AVERAGE_BATCH)
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "machine": self.machine.as_json(),
            "versions": dict(self.versions),
            "date": self.date,
            "command": list(self.command),
            "seconds": self.seconds,
            "texts": self.texts,
            "noisy": self.is_noisy,
            "contenders": [_measured_json(each) for each in self.contenders],
            "conch_alone": [_measured_json(each) for each in self.alone],
            "ratios": {name: self.ratios(name) for name in TARGETS},
            "verdicts": {
                what: {"measured": measured, "at_least": least, "reached": measured >= least}
                for what, (measured, least) in self.verdicts().items()
            },
        }

    def _named(self, name: str) -> Measured:
        return next(each for each in self.contenders if each.name == name)


def _measured_json(measured: Measured) -> dict[str, Any]:
    return {
        "name": measured.name,
        "setup": measured.setup,
        "concurrency": measured.concurrency,
        "median_requests_per_s": measured.median("requests_per_s"),
        "rounds": [
            {**dataclasses.asdict(turn), "others_cores": others}
            for turn, others in zip(measured.turns, measured.others_cores, strict=True)
        ],
    }
