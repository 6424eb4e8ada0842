"""Why a setting won or lost, in sentences made of what Triton counted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from conch_tools.tune.figures import Measurement, StepFigures
from conch_tools.tune.search import Race, Trial

IDLE = 0.10
"""A step that is busy less than this part of the time, and waited for less than this part of a request's, cannot hold
the others up: none of its settings is tried."""
NOTEWORTHY = 0.05
"""Relative change of a figure that is worth saying."""


def busiest_first(measured: Measurement, own: Collection[str]) -> list[str]:
    """The pipeline's own steps that are worth tuning, the one that most holds up the others first.

    That one is always among them.
    """
    first, *rest = (step for step in _ranked(measured) if step.model in own)
    return [first.model, *(step.model for step in rest if _weight(step, measured) >= IDLE)]


def bottleneck(measured: Measurement, own: Collection[str]) -> str:
    """What holds the pipeline up, and what therefore is left alone."""
    first = _ranked(measured)[0]
    said = (
        f"{first.model} holds up the others: its instances are busy {first.busy:.0%} of the time, "
        f"{first.compute_ms:.1f} ms for a batch of {first.average_batch:.1f}, "
        f"and a request waits {first.queue_ms:.1f} ms for it."
    )
    if first.model not in own:
        said += " It belongs to another pipeline: tune that one."
    worth = busiest_first(measured, own)
    idle = [
        f"{step.model} ({step.busy:.0%})" for step in _ranked(measured) if step.model in own and step.model not in worth
    ]
    return f"{said} Left as they are, for they are hardly busy: {', '.join(idle)}." if idle else said


def _ranked(measured: Measurement) -> list[StepFigures]:
    return sorted(measured.steps, key=lambda step: _weight(step, measured), reverse=True)


def _weight(step: StepFigures, measured: Measurement) -> float:
    """A step is in the way when it is busy, or when it lets requests wait although it is not."""
    return max(step.busy, step.queue_ms / measured.traffic.p50_ms)


def finding(race: Race) -> str:
    """What became of one knob, and why."""
    trial = race.winner or race.trials[0]
    so_far, value = race.knob.told(race.before), race.knob.told(trial.candidate)
    if race.winner:
        return f"{race.knob}: {value} instead of {so_far}: {_gain(trial)}. {_why(race, trial)}"
    return f"{race.knob}: {so_far} stays. The next best, {value}: {_gain(trial)}. {_why(race, trial)}"


def _gain(trial: Trial) -> str:
    before, after = trial.against.traffic, trial.measured.traffic
    if trial.ratio > 10 or trial.ratio < 0.1:
        return f"p99 {before.p99_ms:.0f} → {after.p99_ms:.0f} ms, across the limit"
    return f"{trial.ratio - 1:+.1%} over {trial.rounds} round{'s' if trial.rounds > 1 else ''}"


def _why(race: Race, trial: Trial) -> str:
    model = race.knob.model or max(trial.measured.steps, key=lambda step: step.busy).model
    said = list(_changes(trial.against.step(model), trial.measured.step(model)))
    before, after = trial.against.traffic, trial.measured.traffic
    said += _change("p99", before.p99_ms, after.p99_ms, " ms")
    return f"{model}: {', '.join(said)}." if said else f"{model} does the same as before."


def _changes(before: StepFigures, after: StepFigures) -> Iterator[str]:
    yield from _change("average batch", before.average_batch, after.average_batch, "")
    yield from _change("compute", before.row_ms, after.row_ms, " ms a row")
    yield from _change("queue", before.queue_ms, after.queue_ms, " ms a request")
    yield from _change("busy", 100 * before.busy, 100 * after.busy, " %")


def _change(name: str, before: float, after: float, unit: str) -> Sequence[str]:
    if abs(after - before) <= NOTEWORTHY * max(before, after):
        return []
    return [f"{name} {before:.1f} → {after:.1f}{unit}"]
