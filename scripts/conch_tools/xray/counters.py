"""What Triton counts for each model since it was loaded, and what two looks at it tell of the requests in between.

Triton adds up nanoseconds over all callers. So a difference is exact for requests that nobody else came between, and an
average over everybody's otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

NS_A_MS = 1e6
OFTEN = 0.25
"""Calls for each of our requests: a model that answered less often was asked by others. A step that was given several
requests at once may call for all of them together."""


@dataclass(frozen=True)
class Counters:
    """Sums of one model, over all of its versions. Of an ensemble Triton fills in `requests` and `total_ns` alone."""

    requests: int = 0
    """Answered well."""
    failures: int = 0
    inferences: int = 0
    """Items of all batches."""
    executions: int = 0
    cache_hits: int = 0
    total_ns: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    compute_ns: int = 0
    output_ns: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(a + b for a, b in zip(self._values, other._values, strict=True)))

    def __sub__(self, other: Counters) -> Counters:
        return Counters(*(a - b for a, b in zip(self._values, other._values, strict=True)))

    @property
    def _values(self) -> tuple[int, ...]:
        return tuple(vars(self).values())

    @property
    def batch(self) -> float:
        """Items an execution, 0.0 without one."""
        return self.inferences / self.executions if self.executions else 0.0

    @property
    def mean_ms(self) -> float:
        """From a request's arrival to its answer, on average; 0.0 without any."""
        return self.total_ns / self.requests / NS_A_MS if self.requests else 0.0


AllCounters: TypeAlias = Mapping[str, Counters]
"""Those of every model by name."""


@dataclass(frozen=True)
class Round:
    """What was counted while `asked` requests of ours were under way."""

    asked: int
    counted: AllCounters


def counters_in(statistics: Any) -> dict[str, Counters]:
    """From Triton's reply to a question for the statistics of all models."""
    found: dict[str, Counters] = {}
    for each in statistics.model_stats:
        stats = each.inference_stats
        one = Counters(
            requests=stats.success.count,
            failures=stats.fail.count,
            inferences=each.inference_count,
            executions=each.execution_count,
            cache_hits=stats.cache_hit.count,
            total_ns=stats.success.ns,
            queue_ns=stats.queue.ns,
            input_ns=stats.compute_input.ns,
            compute_ns=stats.compute_infer.ns,
            output_ns=stats.compute_output.ns,
        )
        found[each.name] = found.get(each.name, Counters()) + one
    return found


def since(before: AllCounters, after: AllCounters) -> dict[str, Counters]:
    """What was added meanwhile, of the models that answered anything. One that was loaded anew counts from zero again,
    so nothing can be said of it."""
    grown = {name: after[name] - before.get(name, Counters()) for name in after}
    return {name: each for name, each in grown.items() if each.requests > 0 and min(vars(each).values()) >= 0}


def summed(rounds: Sequence[Round]) -> dict[str, Counters]:
    """All rounds together."""
    names = {name for each in rounds for name in each.counted}
    return {name: reduce(Counters.__add__, (each.counted.get(name, Counters()) for each in rounds)) for name in names}


def called(rounds: Sequence[Round], planned: frozenset[str]) -> list[str]:
    """Models beyond the planned ones that answered whenever we asked: those that a step calls by itself (BLS).

    That is in most rounds: somebody else's requests may fall into some, and Triton may count an answer in the round
    after.
    """
    seen = [name for each in rounds for name in each.counted]
    total, asked = summed(rounds), sum(each.asked for each in rounds)
    return sorted(
        name
        for name in total.keys() - planned
        if seen.count(name) > len(rounds) / 2 and total[name].requests >= OFTEN * asked
    )
