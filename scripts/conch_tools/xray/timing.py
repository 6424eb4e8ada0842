"""Where the time of a request goes: queue, input, compute and output of each step, and the path that decides how long
the whole takes. Pure: what was traced or counted in, times in milliseconds out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal

from conch_tools.xray.counters import NS_A_MS, Counters, Round, summed
from conch_tools.xray.plan import Plan

Source = Literal["trace", "statistics"]

SHORTEST_LATER_MS = 0.3
"""The ensemble itself takes up to this to hand an answer on."""


@dataclass(frozen=True)
class Parts:
    """How long each phase of a step took, in milliseconds."""

    queue_ms: float
    """Waiting for a free instance, or for others to be batched with."""
    input_ms: float
    """Collecting and copying the inputs."""
    compute_ms: float
    output_ms: float
    """Copying the outputs and handing them on; the next step may have begun meanwhile."""
    later_ms: float = 0.0
    """From there to the answer, where it came later: Triton's clock stops when `execute` returns, but a step that
    answers through response senders goes on working."""

    @property
    def total_ms(self) -> float:
        """All of them."""
        return self.queue_ms + self.input_ms + self.output_ms + self.work_ms

    @property
    def work_ms(self) -> float:
        """What the step's own code takes."""
        return self.compute_ms + self.later_ms


@dataclass(frozen=True)
class Span:
    """One step of one request. `start_ms` counts from the request's arrival."""

    step: str
    start_ms: float
    parts: Parts
    cached: bool = False
    """The response cache answered; its time is called compute."""

    @property
    def end_ms(self) -> float:
        """When it was done."""
        return self.start_ms + self.parts.total_ms

    @property
    def computed_ms(self) -> float:
        """When it had its outputs. How long handing them on takes depends on the others in its batch as well."""
        return self.end_ms - self.parts.output_ms


@dataclass(frozen=True)
class Request:
    """One request as the server lived it. `total_ms` is from its arrival to its answer."""

    total_ms: float
    spans: Mapping[str, Span]
    """By step."""

    @property
    def outside_ms(self) -> float:
        """Time in which no step had the request: what the ensemble itself takes."""
        covered, until = 0.0, 0.0
        for span in sorted(self.spans.values(), key=lambda span: span.start_ms):
            end = min(span.end_ms, self.total_ms)
            covered += max(0.0, end - max(until, span.start_ms))
            until = max(until, end)
        return max(0.0, self.total_ms - covered)


@dataclass(frozen=True)
class StepTime:
    """One step's medians over the requests."""

    inside: Parts
    """Within the whole."""
    alone: Parts | None
    """Asked by itself, one request after the other; None where that was not counted."""
    batch: float
    """Items an execution on average, over everybody's requests meanwhile; 0.0 where nothing was counted."""
    cached: bool


@dataclass(frozen=True)
class Called:
    """A model that a step calls by itself (Triton's BLS), for each request on average."""

    model: str
    times: float
    mean_ms: float
    """Of one call, waiting included."""
    of_step: str | None
    """The step that calls it, None where several may."""
    within: str | None
    """The called ensemble that it is a part of, None of what the step itself names."""


@dataclass(frozen=True)
class Timing:
    """All that was measured of one model's requests. Milliseconds are medians."""

    source: Source
    remark: str | None
    """Why it is no trace, None where it is one."""
    requests: int
    concurrency: int
    total_ms: float
    """On the server."""
    wall_ms: float
    """At the caller."""
    outside_ms: float
    """On the server, in no step."""
    steps: Mapping[str, StepTime]
    typical: Request
    """The request of median length; without a trace, one laid out from the medians as early as the steps allow."""
    path: Mapping[str, float]
    """The critical path: the steps that decide how long a request takes, in their order, each with the milliseconds
    that it adds."""
    called: tuple[Called, ...] = field(default=())


def timing_of_traces(plan: Plan, traced: Sequence[Request]) -> tuple[list[Request], dict[str, Parts]]:
    """Traced requests, the shortest first, and each step's median parts. Raises ValueError when a step is missing."""
    missing = [step.name for step in plan.steps if not all(step.name in each.spans for each in traced)]
    if missing or not traced:
        raise ValueError(f"no time of {', '.join(missing) or 'any request'} was traced")
    requests = sorted((_with_late_answers(plan, each) for each in traced), key=lambda each: each.total_ms)
    parts = {step.name: middle([each.spans[step.name].parts for each in requests]) for step in plan.steps}
    return requests, parts


def timing_of_counters(plan: Plan, rounds: Sequence[Round]) -> tuple[list[Request], dict[str, Parts]]:
    """The same from what Triton counted: one request that is laid out from each step's mean within a round, the median
    over rounds.

    Steps of one model share its counters, so each is given their mean. Raises ValueError when a step was not counted.
    """
    parts: dict[str, Parts] = {}
    for step in plan.steps:
        seen = [mean_parts(each.counted[step.model]) for each in rounds if step.model in each.counted]
        if not seen:
            raise ValueError(f"the server counted no request to `{step.model}`")
        parts[step.name] = middle(seen)
    counted = summed(rounds)
    spans = _laid_out(plan, parts, lambda step: counted[step].cache_hits > 0)
    ends = [span.end_ms for span in spans.values()]
    whole = [each.counted[plan.model].mean_ms for each in rounds if plan.model in each.counted]
    request = Request(max([*ends, median(whole)] if whole else ends), spans)
    if len(plan.steps) == 1:
        # Of several steps nobody could say which one answered late.
        request = _with_late_answers(plan, request)
        parts = {name: span.parts for name, span in request.spans.items()}
    return [request], parts


def mean_parts(counters: Counters) -> Parts:
    """Of one request on average. An answer from the response cache took none of these."""
    asked = max(1, counters.requests) * NS_A_MS
    phases = (counters.queue_ns, counters.input_ns, counters.compute_ns, counters.output_ns)
    queue, taking, computing, giving = (each / asked for each in phases)
    return Parts(queue, taking, computing, giving)


def critical_path(plan: Plan, request: Request) -> dict[str, float]:
    """The steps that the answer waited for: from the one that was done last back to what each of them waited for. Each
    adds the time until the next one began, the last one that until the answer: together they are the whole."""
    path: list[str] = []
    waiting_for = [step for step in plan.steps if set(plan.outputs).intersection(step.outputs.values())]
    while waiting_for:
        last = max(waiting_for, key=lambda step: request.spans[step.name].computed_ms)
        path.insert(0, last.name)
        waiting_for = plan.before(last)
    begins = [0.0, *(request.spans[name].start_ms for name in path[1:]), request.total_ms]
    return {name: max(0.0, end - begin) for name, begin, end in zip(path, begins[:-1], begins[1:], strict=True)}


def usual_path(plan: Plan, requests: Sequence[Request]) -> dict[str, float]:
    """The critical path of the typical request. What a step adds is the median over the requests that waited for it."""
    paths = [critical_path(plan, each) for each in requests]
    return {
        name: median(path[name] for path in paths if name in path) for name in critical_path(plan, typical(requests))
    }


def typical(requests: Sequence[Request]) -> Request:
    """The middle one of requests that are sorted by length."""
    return requests[len(requests) // 2]


def _with_late_answers(plan: Plan, request: Request) -> Request:
    """The request with the time in which a step of the critical path was done for Triton, but had not answered."""
    path = critical_path(plan, request)
    spans = dict(request.spans)
    for name, adds_ms in path.items():
        span = spans[name]
        late_ms = adds_ms - span.parts.total_ms - (span.start_ms if name == next(iter(path)) else 0.0)
        if late_ms >= SHORTEST_LATER_MS:
            spans[name] = replace(span, parts=replace(span.parts, later_ms=late_ms))
    return replace(request, spans=spans)


def middle(values: Sequence[Parts]) -> Parts:
    """The median of each phase; of one value at least."""
    return Parts(*(median(column) for column in zip(*(vars(each).values() for each in values), strict=True)))


def _laid_out(plan: Plan, parts: Mapping[str, Parts], is_cached: Callable[[str], bool]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for step in plan.steps:
        start = max((spans[each.name].end_ms for each in plan.before(step)), default=0.0)
        spans[step.name] = Span(step.name, start, parts[step.name], is_cached(step.model))
    return spans
