"""Send a plan's request again and again, and find out where its time went: by Triton's trace where it can be had, by
its counters otherwise. Every step is then asked by itself as well, because an ensemble whose parts are fast alone and
slow together says something."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median

from conch_client import ConchError as ClientError
from conch_tools.likeness import Array
from conch_tools.xray.counters import AllCounters, Counters, Round, called, since, summed
from conch_tools.xray.plan import LATEST, Plan, Step, plan_of
from conch_tools.xray.server import Refused, Server
from conch_tools.xray.timing import (
    Called,
    Parts,
    Request,
    StepTime,
    Timing,
    mean_parts,
    middle,
    timing_of_counters,
    timing_of_traces,
    typical,
    usual_path,
)
from conch_tools.xray.tracing import NoTrace, traced
from conch_tools.xray.walk import Parameters, inputs_of

COUNTING_WAIT_S = 0.5
POLL_S = 0.005
BUDGET_S = 20.0
"""After this no further request to the whole is sent."""
STEP_BUDGET_S = 5.0
"""The same of each step."""


@dataclass(frozen=True)
class Load:
    """How often the request is sent."""

    repeat: int
    """By each caller."""
    concurrency: int
    """Callers at once."""
    budget_s: float = BUDGET_S
    """After this no further one is sent."""


@dataclass(frozen=True)
class _Asked:
    """Requests that were answered."""

    ids: list[str]
    walls_ms: list[float]
    rounds: list[Round]
    """Empty where the server keeps its statistics to itself."""


def measured(
    server: Server, plan: Plan, tensors: Mapping[str, Array], parameters: Parameters, load: Load
) -> Timing | str:
    """Where the time goes, or why nobody can say. `tensors` are all wires of a walk."""
    try:
        return _measured(server, plan, tensors, parameters, load)
    except ClientError as problem:
        return f"a request failed: {problem.problem}"


def _measured(
    server: Server, plan: Plan, tensors: Mapping[str, Array], parameters: Parameters, load: Load
) -> Timing | str:
    sent = {name: tensors[name] for name in plan.inputs if name in tensors}
    try:
        inside = _inside(server, plan, sent, parameters, load)
    except ValueError as unknown:
        return str(unknown)
    asked, requests, parts = inside.asked, inside.requests, inside.parts
    alone = {step.name: _alone(server, step, tensors, parameters, load.repeat) for step in plan.steps}
    total_ms, wall_ms = median(each.total_ms for each in requests), median(asked.walls_ms)
    counted = summed(asked.rounds)
    steps = {
        step.name: StepTime(
            inside=parts[step.name],
            alone=_alone_parts(step, alone[step.name], parts[step.name].later_ms > 0, wall_ms - total_ms),
            batch=counted.get(step.model, Counters()).batch,
            cached=typical(requests).spans[step.name].cached,
        )
        for step in plan.steps
    }
    return Timing(
        source="trace" if inside.remark is None else "statistics",
        remark=inside.remark,
        requests=len(asked.ids),
        concurrency=load.concurrency,
        total_ms=total_ms,
        wall_ms=wall_ms,
        outside_ms=median(each.outside_ms for each in requests),
        steps=steps,
        typical=typical(requests),
        path=usual_path(plan, requests),
        called=tuple(_called(server, plan, asked.rounds, {name: each.rounds for name, each in alone.items()})),
    )


@dataclass(frozen=True)
class _Inside:
    """What was found out of the whole's requests."""

    asked: _Asked
    remark: str | None
    """Why they could not be traced."""
    requests: list[Request]
    """The shortest first."""
    parts: dict[str, Parts]
    """Of each step."""


def _inside(server: Server, plan: Plan, sent: Mapping[str, Array], parameters: Parameters, load: Load) -> _Inside:
    """By traces, else by counters. Raises ValueError where there is neither."""
    try:
        with traced(server, plan.model, load.repeat * load.concurrency) as traces:
            asked = _asked(server, plan.model, plan.version, sent, parameters, load)
            requests = traces.of(asked.ids)
        return _Inside(asked, None, *timing_of_traces(plan, requests))
    except (NoTrace, ValueError) as problem:
        asked = _asked(server, plan.model, plan.version, sent, parameters, load)
        try:
            return _Inside(asked, str(problem), *timing_of_counters(plan, asked.rounds))
        except ValueError as unknown:
            raise ValueError(f"{problem}; and {unknown}") from problem


def _alone_parts(step: Step, asked: _Asked, answers_late: bool, way_ms: float) -> Parts | None:
    """The medians of a step that was asked by itself; None where nothing was counted. Where it answers late, only the
    caller's clock tells, less the way there and back."""
    counted = [mean_parts(each.counted[step.model]) for each in asked.rounds if step.model in each.counted]
    if not counted:
        return None
    parts = middle(counted)
    late_ms = max(0.0, median(asked.walls_ms) - way_ms - parts.total_ms) if answers_late else 0.0
    return replace(parts, later_ms=late_ms)


def _called(
    server: Server, plan: Plan, rounds: Sequence[Round], alone: Mapping[str, Sequence[Round]]
) -> Iterator[Called]:
    """The models that steps call by themselves: they answered whenever the whole was asked, and that step."""
    of_step = {name: called(by_itself, plan.models) for name, by_itself in alone.items() if by_itself}
    counted, asked = summed(rounds), sum(each.asked for each in rounds)
    models = [
        each for each in called(rounds, plan.models) if not of_step or any(each in its for its in of_step.values())
    ]
    parts = {model: plan_of(model, LATEST, server.config).models - {model} for model in models}
    for model in models:
        callers = [name for name, its in of_step.items() if model in its]
        within = next((each for each in models if model in parts[each]), None)
        times, mean_ms = counted[model].requests / asked, counted[model].mean_ms
        yield Called(model, times, mean_ms, callers[0] if len(callers) == 1 else None, within)


def _alone(server: Server, step: Step, tensors: Mapping[str, Array], parameters: Parameters, repeat: int) -> _Asked:
    """One request after the other to one step; none where one fails."""
    inputs = inputs_of(step, tensors)
    try:
        return _asked(server, step.model, step.version, inputs, parameters, Load(repeat, 1, STEP_BUDGET_S))
    except ClientError:
        return _Asked([], [], [])


def _asked(
    server: Server, model: str, version: str, inputs: Mapping[str, Array], parameters: Parameters, load: Load
) -> _Asked:
    """Send the request as often as the load says, within its budget. A lone caller's requests are a round each,
    those of several callers together are one."""
    deadline = time.monotonic() + load.budget_s
    prefix = f"xray-{secrets.token_hex(6)}"
    ids = [f"{prefix}-{number}" for number in range(load.repeat * load.concurrency)]
    a_round = 1 if load.concurrency == 1 else len(ids)
    asked = _Asked([], [], [])

    def send(request_id: str) -> float | None:
        if time.monotonic() > deadline:
            return None
        began = time.perf_counter()
        server.client.infer(model, version, inputs=inputs, parameters=dict(parameters), request_id=request_id)
        return (time.perf_counter() - began) * 1e3

    with ThreadPoolExecutor(load.concurrency, thread_name_prefix="xray") as callers:
        before = _counters(server)
        for first in range(0, len(ids), a_round):
            these = ids[first : first + a_round]
            walls = dict(zip(these, callers.map(send, these), strict=True))
            answered = {request_id: wall_ms for request_id, wall_ms in walls.items() if wall_ms is not None}
            if not answered:
                break
            asked.ids.extend(answered)
            asked.walls_ms.extend(answered.values())
            after = _counters(server, before, model, len(answered))
            if before is not None and after is not None:
                asked.rounds.append(Round(len(answered), since(before, after)))
            before = after
    return asked


def _counters(
    server: Server, before: AllCounters | None = None, model: str = "", answered: int = 0
) -> AllCounters | None:
    """The counters now; or, as Triton counts a request a moment after its answer, once they hold these answers."""
    deadline = time.monotonic() + COUNTING_WAIT_S
    try:
        while True:
            now = server.counters()
            counted = since(before or {}, now).get(model, Counters()).requests
            if counted >= answered or time.monotonic() > deadline:
                return now
            time.sleep(POLL_S)
    except Refused:
        return None
