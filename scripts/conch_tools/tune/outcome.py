"""What a tuning came to: the settings before and after with their figures, and everything that led there. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conch_tools.bench.comparison import NOISY_CORES
from conch_tools.machine import Machine
from conch_tools.tune.explain import finding
from conch_tools.tune.figures import Traffic
from conch_tools.tune.search import Findings, Objective
from conch_tools.tune.space import Candidate, StepSettings

DECIMALS = 2


@dataclass(frozen=True)
class Circumstances:
    """How it was measured."""

    pipeline: str
    machine: Machine
    date: str
    command: Sequence[str]
    requests: str
    """What was sent, in words."""
    generator: str
    concurrency: int
    objective: Objective


@dataclass(frozen=True)
class Outcome:
    """The result of a tuning."""

    circumstances: Circumstances
    before: Candidate
    after: Candidate
    findings: Findings
    curves: Mapping[str, Sequence[Traffic]]
    """Throughput and latency at several concurrencies: "before", and "after" where that differs."""
    seconds: float
    """What the whole tuning took."""

    @property
    def changed(self) -> bool:
        """Whether anything beat the settings of the beginning."""
        return self.after != self.before

    def final(self, candidate: Candidate) -> Traffic:
        """Medians of a candidate's turns in the final rounds."""
        return median_traffic([each.traffic for each in self.findings.final[candidate]])

    @property
    def others_cores(self) -> float:
        """Cores that foreign processes kept busy in the median turn of the final rounds."""
        return statistics.median(turn.others_cores for turns in self.findings.final.values() for turn in turns)

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was too busy for the figures to mean much."""
        return self.others_cores > NOISY_CORES

    @property
    def gain(self) -> float:
        """Requests a second after, as a multiple of before."""
        return self.final(self.after).requests_per_s / self.final(self.before).requests_per_s

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        told = self.circumstances
        return {
            "pipeline": told.pipeline,
            "machine": told.machine.as_json(),
            "date": told.date,
            "command": list(told.command),
            "requests": told.requests,
            "generator": told.generator,
            "concurrency": told.concurrency,
            "latency_limit_ms": told.objective.latency_limit_ms,
            "seconds": round(self.seconds, 1),
            "turns": self.findings.turns,
            "complete": self.findings.complete,
            "others_cores": round(self.others_cores, 3),
            "before": {"settings": candidate_json(self.before), **traffic_json(self.final(self.before))},
            "after": {"settings": candidate_json(self.after), **traffic_json(self.final(self.after))},
            "findings": [finding(race) for race in self.findings.races],
            "rejected": {str(candidate): reason for candidate, reason in self.findings.rejected.items()},
            "finalists": [
                {"settings": candidate_json(candidate), "turns": [traffic_json(turn.traffic) for turn in turns]}
                for candidate, turns in self.findings.final.items()
            ],
            "curves": {name: [traffic_json(point) for point in curve] for name, curve in self.curves.items()},
        }


def median_traffic(turns: Sequence[Traffic]) -> Traffic:
    """The medians of turns at one concurrency."""
    return Traffic(
        turns[0].concurrency,
        *(statistics.median(getattr(turn, name) for turn in turns) for name in ("requests_per_s", "p50_ms", "p99_ms")),
    )


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    """A candidate as plain values."""
    return dataclasses.asdict(candidate)


def candidate_from_json(value: Mapping[str, Any]) -> Candidate:
    """The candidate that candidate_json wrote. Raises KeyError or TypeError for anything else."""
    steps = (StepSettings(**{**step, "preferred": tuple(step["preferred"])}) for step in value["steps"])
    return Candidate(tuple(steps), value["max_batch"])


def traffic_json(traffic: Traffic) -> dict[str, Any]:
    """Figures as plain values, without digits that mean nothing."""
    return {name: round(value, DECIMALS) for name, value in dataclasses.asdict(traffic).items()}
