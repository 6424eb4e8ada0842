"""Every case asked in each way that may change its answer: alone, among others in one request, beside others.

A batch of one never shares an execution. In mixed batches of 2, 7 and 32, cases of any length meet in one request; as
concurrent single requests they meet in Triton's dynamic batcher.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from conch_tools.build.reference import Item, Rows
from conch_tools.errors import NoAnswer
from conch_tools.parity.figures import Figures, figures_of
from conch_tools.parity.metrics import Case, Row, compare, ranks, vectors_in
from conch_tools.parity.protocols import CALLERS, LATEST, Ask, Tensors

BATCH_SIZES = (2, 7, 32)
ALONE = "one by one"
BATCHES = "batches"
CONCURRENT = "concurrent"


@dataclass(frozen=True)
class Answer:
    """What came of one case. Without a row there is a problem that says why."""

    index: int
    """The case's place in the corpus."""
    row: Row | None
    problem: str | None
    batch: Sequence[int]
    """The cases of its request, itself among them."""


Send: TypeAlias = Callable[[Sequence[int]], list[Answer]]
"""Asks some cases, by their places in the corpus, in one request."""


class Way(Protocol):
    """One way of asking."""

    def __call__(self, ask: Ask, model: str, items: Sequence[Item], version: str = LATEST) -> list[Answer]:
        """Ask every case once."""


@dataclass(frozen=True)
class Difference:
    """A case that differs, and how."""

    index: int
    problem: str
    batch: Sequence[int]
    says_something_else: bool
    """Whether more is off than numbers."""


@dataclass(frozen=True)
class Outcome:
    """All cases asked in one way, measured by the answers expected."""

    way: str
    figures: Figures
    differences: Sequence[Difference]
    """Those that say something else come first, else in the order asked."""


def one_by_one(ask: Ask, model: str, items: Sequence[Item], version: str = LATEST) -> list[Answer]:
    """One request after the other, a case each."""
    send = _sender(ask, model, items, version)
    return [answer for index in range(len(items)) for answer in send([index])]


def in_batches(ask: Ask, model: str, items: Sequence[Item], version: str = LATEST) -> list[Answer]:
    """Requests of 2, 7 and 32 cases in turns, none larger than the model takes."""
    send = _sender(ask, model, items, version)
    batches = batches_of(len(items), max(1, ask.largest_batch(model)))
    return [answer for batch in batches for group in alike(items, batch) for answer in send(group)]


def concurrently(ask: Ask, model: str, items: Sequence[Item], version: str = LATEST) -> list[Answer]:
    """Single requests of 32 callers at once. Whatever is raised, Ctrl-C included, does not wait for the others."""
    send = _sender(ask, model, items, version)
    callers = ThreadPoolExecutor(CALLERS)
    try:
        answers = [answer for some in callers.map(lambda index: send([index]), range(len(items))) for answer in some]
    except BaseException:
        callers.shutdown(wait=False, cancel_futures=True)
        raise
    callers.shutdown()
    return answers


WAYS: Mapping[str, Way] = {ALONE: one_by_one, BATCHES: in_batches, CONCURRENT: concurrently}


def ways_of(ask: Ask, model: str) -> Mapping[str, Way]:
    """The ways in which a model can be asked: one without batches in no batches."""
    return {way: asked for way, asked in WAYS.items() if way != BATCHES or ask.largest_batch(model) > 0}


def batches_of(cases: int, largest: int = max(BATCH_SIZES)) -> Iterator[range]:
    """All cases in their order, cut into batches of every size in turns."""
    start = 0
    for size in itertools.cycle(min(size, largest) for size in BATCH_SIZES):
        if start >= cases:
            return
        yield range(start, min(start + size, cases))
        start += size


def alike(items: Sequence[Item], batch: Sequence[int]) -> list[list[int]]:
    """A batch cut into what one request can hold: tensors of the same shapes, and the same whole numbers, because a
    horizon, say, holds for a whole request."""
    groups: dict[object, list[int]] = defaultdict(list)
    for index in batch:
        item = items[index]
        numbers = tuple(value.tobytes() for value in item.values() if value.dtype.kind in "iu")
        groups[tuple(value.shape for value in item.values()), numbers].append(index)
    return list(groups.values())


def stacked(items: Sequence[Item], batch: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """Cases as the tensors of one request."""
    chosen = [items[index] for index in batch]
    return {name: np.stack([item[name] for item in chosen]) for name in chosen[0]}


def unstacked(tensors: Tensors, batch: Sequence[int]) -> list[Answer]:
    """One request's outputs as the answers to its cases."""
    short = next((name for name, value in tensors.items() if len(value) != len(batch)), None)
    if short is not None:
        problem = f"`{short}` has {len(tensors[short])} rows for {len(batch)} cases"
        return [Answer(index, None, problem, batch) for index in batch]
    rows = ({name: value[place] for name, value in tensors.items()} for place in range(len(batch)))
    return [Answer(index, row, None, batch) for index, row in zip(batch, rows, strict=True)]


def measured(
    way: str, answers: Sequence[Answer], expected: Sequence[Row | None], tolerance: float, of_step: bool = False
) -> Outcome:
    """Compare answers with those expected of the same cases, by their place in the corpus. None: a refusal.

    `of_step`: they are a step's, not the whole pipeline's.
    """
    known = [row for row in expected if row is not None]
    vectors = vectors_in(known)
    cases: list[Case] = []
    differences: list[Difference] = []
    for answer in answers:
        case = _case(answer, expected[answer.index], vectors, of_step)
        cases.append(case)
        problem = case.problem(tolerance)
        if problem is not None:
            differences.append(Difference(answer.index, problem, answer.batch, case.says_something_else))
    differences.sort(key=lambda each: not each.says_something_else)
    return Outcome(way, figures_of(cases, tolerance, ranked=ranks(known)), differences)


def rows_of(outputs: Mapping[str, Rows]) -> list[Row]:
    """A reference's answers case by case."""
    return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]


def _case(answer: Answer, expected: Row | None, vectors: frozenset[str], of_step: bool) -> Case:
    if answer.row is None:
        return Case({}, unlike=None if expected is None else answer.problem)
    if expected is None:
        return Case({}, unlike="there is an answer where a refusal is expected")
    return compare(expected, answer.row, vectors, of_step)


def _sender(ask: Ask, model: str, items: Sequence[Item], version: str) -> Send:
    has_batches = ask.largest_batch(model) > 0

    def send(batch: Sequence[int]) -> list[Answer]:
        try:
            if has_batches:
                return unstacked(ask(model, stacked(items, batch), version), batch)
            return [Answer(index, ask(model, items[index], version), None, [index]) for index in batch]
        except NoAnswer as problem:
            return [Answer(index, None, str(problem), batch) for index in batch]

    return send
