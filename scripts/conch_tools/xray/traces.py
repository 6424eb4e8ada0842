"""Triton's trace files, read: when each model's part of a request waited, began and ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from conch_tools.xray.counters import NS_A_MS
from conch_tools.xray.timing import Parts, Request, Span

BEGUN, QUEUED, COMPUTED = "REQUEST_START", "QUEUE_START", "COMPUTE_START"
TAKEN_IN, GIVEN_OUT, DONE, ENDED = "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END", "REQUEST_END"
ANSWERED = "INFER_RESPONSE_COMPLETE"
"""When an ensemble's answer was whole; gRPC alone says it."""


@dataclass
class Traced:
    """One model's part of one request. `parent` is the id of the ensemble's, None of what the caller asked."""

    id: int
    model: str
    request_id: str
    parent: int | None
    at: dict[str, int] = field(default_factory=dict)
    """Nanoseconds of the server's clock by event."""


def traced_in(text: str) -> list[Traced]:
    """What a trace file holds. Raises ValueError for one that is not written to its end, or is none."""
    found: dict[int, Traced] = {}
    try:
        for entry in json.loads(text):
            if "model_name" in entry:
                found[entry["id"]] = Traced(
                    entry["id"], entry["model_name"], entry.get("request_id", ""), entry.get("parent_id")
                )
            for stamp in entry.get("timestamps", ()):
                found[entry["id"]].at[stamp["name"]] = stamp["ns"]
    except (KeyError, TypeError) as problem:
        raise ValueError(f"no trace file of Triton: {problem}") from problem
    return list(found.values())


def request_of(root: Traced, others: Iterable[Traced]) -> Request:
    """A traced request with a span for each step, named as conch_tools.xray.plan names them.

    Where an ensemble asks one model twice, the part that began first is taken for the first step. Raises ValueError
    where a time is missing.
    """
    children: dict[int, list[Traced]] = {}
    for each in others:
        if each.parent is not None:
            children.setdefault(each.parent, []).append(each)
    try:
        began = root.at[BEGUN]
        ended = root.at.get(ANSWERED, root.at.get(ENDED, 0))
        if root.id in children:
            spans = {span.step: span for span in _spans(root, "", children, began)}
        else:
            spans = {root.model: _span(root, root.model, began)}
            ended = min(ended, root.at[ENDED])
    except KeyError as problem:
        raise ValueError(f"the trace of `{root.model}` does not say {problem}") from problem
    return Request((ended - began) / NS_A_MS, spans)


def _spans(parent: Traced, prefix: str, children: Mapping[int, list[Traced]], began: int) -> Iterable[Span]:
    asked: dict[str, int] = {}
    for each in sorted(children[parent.id], key=lambda child: child.at[BEGUN]):
        asked[each.model] = asked.get(each.model, 0) + 1
        name = f"{prefix}{each.model}" + (f"#{asked[each.model]}" if asked[each.model] > 1 else "")
        if COMPUTED not in each.at and each.id in children:
            yield from _spans(each, f"{name}/", children, began)
        else:
            yield _span(each, name, began)


def _span(one: Traced, name: str, began: int) -> Span:
    at = one.at
    if COMPUTED not in at:
        # Answered from the response cache: nothing waited and nothing ran.
        return Span(name, (at[BEGUN] - began) / NS_A_MS, Parts(0.0, 0.0, (at[ENDED] - at[BEGUN]) / NS_A_MS, 0.0), True)
    stamps = (at.get(QUEUED, at[COMPUTED]), at[COMPUTED], at[TAKEN_IN], at[GIVEN_OUT], at[DONE])
    queue, taking, computing, giving = ((b - a) / NS_A_MS for a, b in pairwise(stamps))
    return Span(name, (stamps[0] - began) / NS_A_MS, Parts(queue, taking, computing, giving))
