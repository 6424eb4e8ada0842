"""What can be set in a pipeline: each step's knobs with the values worth trying, and candidates made of them. Pure.

The values grow by doubling, because settings side by side differ less than one measurement from the next. What the
machine has bounds them: processes and threads by its cores, processes also by its memory, preferred sizes by the
requests in flight. The maximum batch decides which requests are accepted: it is raised at most, never lowered, and for
the whole ensemble at once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

QUEUE_DELAYS_US = (0, 500, 1000, 2000, 5000)
SMALLEST_PREFERRED = 4
DELAY, PREFERRED = "queue delay", "preferred sizes"
OVERSUBSCRIPTION = 2
"""Runtime threads of all instances of a step together, at most, as a multiple of the cores."""


@dataclass(frozen=True)
class StepSettings:
    """How one step of the pipeline runs."""

    model: str
    instances: int = 1
    threads: int | None = None
    """Threads of one instance's runtime; None for a step without one."""
    spinning: bool = False
    """Whether idle threads of the runtime burn a core while they wait."""
    queue_delay_us: int | None = None
    """How long the batcher may wait for more requests; None for a step that is not batched dynamically."""
    preferred: tuple[int, ...] = ()
    """Batch sizes that are sent off as soon as they can be formed."""

    @property
    def processes(self) -> str:
        """Instances and their threads, in words."""
        instances = f"{self.instances} instance{'s' if self.instances > 1 else ''}"
        if self.threads is None:
            return instances
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{instances} of {threads}{', spinning' if self.spinning else ''}"

    def __str__(self) -> str:
        parts = [self.processes]
        if self.queue_delay_us:
            parts.append(f"queue delay {self.queue_delay_us} µs")
        if self.preferred:
            parts.append(f"preferred sizes {', '.join(map(str, self.preferred))}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Candidate:
    """Settings of every step that can be set, and the maximum batch of the whole ensemble."""

    steps: tuple[StepSettings, ...]
    max_batch: int

    def step(self, model: str) -> StepSettings:
        """The settings of a step."""
        return next(step for step in self.steps if step.model == model)

    def changed(self, model: str, values: Mapping[str, Any]) -> Candidate:
        """The same with other values in one step."""
        steps = tuple(dataclasses.replace(step, **values) if step.model == model else step for step in self.steps)
        return dataclasses.replace(self, steps=steps)

    def __str__(self) -> str:
        return "; ".join(f"{step.model}: {step}" for step in self.steps) + f"; maximum batch {self.max_batch}"


@dataclass(frozen=True, eq=False)
class Knob:
    """Something to set, with the values worth trying; `model` is None where it concerns the whole ensemble."""

    name: str
    model: str | None
    values: tuple[Mapping[str, Any], ...]

    def settings(self, candidate: Candidate) -> Iterator[Candidate]:
        """The candidate with each of the values."""
        for value in self.values:
            if self.model is None:
                yield dataclasses.replace(candidate, **value)
            else:
                yield candidate.changed(self.model, value)

    def told(self, candidate: Candidate) -> str:
        """A candidate's value of this knob, in words."""
        if self.model is None:
            return str(candidate.max_batch)
        step = candidate.step(self.model)
        if self.name == DELAY:
            return f"{step.queue_delay_us} µs"
        if self.name == PREFERRED:
            return ", ".join(map(str, step.preferred)) or "none"
        return step.processes

    def __str__(self) -> str:
        return self.name if self.model is None else f"{self.name} of {self.model}"


@dataclass(frozen=True)
class Bounds:
    """What limits the values."""

    cores: int
    concurrency: int
    """Requests in flight; no batch can be larger."""
    most_instances: Mapping[str, int]
    """Of each step, what the memory allows."""


def knobs(current: Candidate, bounds: Bounds, busiest_first: Sequence[str]) -> list[Knob]:
    """Everything worth trying, in the order in which it is likely to matter.

    `busiest_first` names the steps to look at; the others stay as they are.
    """
    found = [knob for model in busiest_first for knob in _step_knobs(current.step(model), bounds, current.max_batch)]
    if bounds.concurrency > current.max_batch:
        found.append(Knob("maximum batch", None, ({"max_batch": 2 * current.max_batch},)))
    return found


def points(current: Candidate, chosen: Sequence[Knob]) -> list[Candidate]:
    """Every combination of the knobs' values, those that leave the same behind counted once."""
    found = [current]
    for knob in chosen:
        found = [setting for candidate in found for setting in knob.settings(candidate)]
    return list(dict.fromkeys(found))


def _step_knobs(step: StepSettings, bounds: Bounds, max_batch: int) -> Iterator[Knob]:
    instances = _doubling(1, min(bounds.cores, bounds.most_instances.get(step.model, bounds.cores)))
    if step.threads is None:
        yield Knob("instances", step.model, tuple({"instances": count} for count in instances))
    else:
        yield Knob("instances and threads", step.model, tuple(_parallelism(instances, bounds.cores)))
    if step.queue_delay_us is not None and step.threads is not None:
        sizes = _doubling(SMALLEST_PREFERRED, min(bounds.concurrency, max_batch))
        yield Knob(PREFERRED, step.model, ({"preferred": ()}, *({"preferred": (size,)} for size in sizes)))
        yield Knob(DELAY, step.model, tuple({"queue_delay_us": delay} for delay in QUEUE_DELAYS_US))


def _parallelism(instances: Sequence[int], cores: int) -> Iterator[Mapping[str, Any]]:
    """Instances, threads and spinning belong together: each of them is good or bad by what the others are."""
    for count, threads in itertools.product(instances, _doubling(1, cores)):
        # Fewer than half of the cores at work lose to more, unless the work is elsewhere.
        if cores <= 2 * count * threads and count * threads <= OVERSUBSCRIPTION * cores:
            yield {"instances": count, "threads": threads, "spinning": False}
            if threads > 1:
                yield {"instances": count, "threads": threads, "spinning": True}


def _doubling(least: int, most: int) -> list[int]:
    """`least`, its doubles below `most`, and `most` itself; none when that is less."""
    values = []
    while least < most:
        values.append(least)
        least *= 2
    return [*values, most] if values or least == most else []
