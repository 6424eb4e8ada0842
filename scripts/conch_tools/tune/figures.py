"""What one turn under load measured: the callers' view, and what each step did by Triton's statistics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Statistics = Mapping[str, Any]
"""Of one version of a model, as the V2 protocol's statistics extension gives them over HTTP."""
PHASES = ("compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Traffic:
    """What callers saw at one number of requests in flight."""

    concurrency: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class StepFigures:
    """What one step did in a turn, its warm-up included."""

    model: str
    average_batch: float
    """Rows an execution; 0.0 when there was none."""
    queue_ms: float
    """What a request waited for the step, in the mean."""
    compute_ms: float
    """What an execution took, in the mean."""
    busy: float
    """Part of the time that its instances were executing, from 0 to 1."""

    @property
    def row_ms(self) -> float:
        """What a row took of an instance's time."""
        return self.compute_ms / self.average_batch if self.average_batch else 0.0


@dataclass(frozen=True)
class Measurement:
    """One turn of one candidate."""

    traffic: Traffic
    steps: tuple[StepFigures, ...]
    others_cores: float = 0.0
    """Cores that foreign processes kept busy meanwhile."""

    def step(self, model: str) -> StepFigures:
        """What a step did."""
        return next(step for step in self.steps if step.model == model)


def step_figures(before: Statistics, after: Statistics, seconds: float, instances: int) -> StepFigures:
    """From the counters before and after a turn of `seconds`."""

    def grown(*path: str) -> float:
        return float(_at(after, path)) - float(_at(before, path))

    executions = grown("execution_count")
    requests = grown("inference_stats", "success", "count")
    # Of a batch each request is charged the whole time; only batch_stats count an execution once.
    computed_ns = _computed_ns(after) - _computed_ns(before)
    return StepFigures(
        model=str(after["name"]),
        average_batch=grown("inference_count") / executions if executions else 0.0,
        queue_ms=grown("inference_stats", "queue", "ns") / requests / 1e6 if requests else 0.0,
        compute_ms=computed_ns / executions / 1e6 if executions else 0.0,
        busy=min(1.0, computed_ns / 1e9 / seconds / instances),
    )


def _computed_ns(statistics: Statistics) -> float:
    return float(sum(each[phase]["ns"] for each in statistics.get("batch_stats", ()) for phase in PHASES))


def _at(statistics: Statistics, path: tuple[str, ...]) -> float:
    value: Any = statistics
    for part in path:
        value = value.get(part, 0) if isinstance(value, Mapping) else 0
    return float(value)
