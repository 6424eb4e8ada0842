"""How one answer is off from another: label flips, shared spans, cosine of vectors, difference of numbers.

What is measured follows from what the expected answer holds, whoever gave it:

- a tensor `label` of texts with its `score`s is a ranking: its best label counts, and the score of each label;
- BYTES that hold JSON are things found (entities, answers, items of a catalogue): they are counted as shared, expected
  and got. Their numbers with a fraction are compared, everything else of a thing must be the same;
- whole numbers and other texts are the same or not;
- all other numbers have a worst difference, and vectors (rows that are all of one length) a cosine.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LABEL, SCORE = "label", "score"
Array = npt.NDArray[Any]
Row = Mapping[str, Array]
"""One answer: output tensors by name, without a batch dimension."""


@dataclass(frozen=True)
class Flip:
    """Another best label. `gap` is by how much the expected scores prefer theirs: a small one was a close decision."""

    expected: str
    got: str
    gap: float


@dataclass(frozen=True)
class Shared:
    """Things found: in both answers, in the expected one, in the other."""

    both: int = 0
    expected: int = 0
    got: int = 0

    def __add__(self, other: Shared) -> Shared:
        return Shared(self.both + other.both, self.expected + other.expected, self.got + other.got)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where neither found anything."""
        return 2 * self.both / (self.expected + self.got) if self.expected + self.got else 1.0


@dataclass
class Case:
    """What one answer is off by, tensor by tensor."""

    differences: dict[str, float]
    """Worst absolute difference of each tensor's numbers; infinite for another shape and for what is no number."""
    flip: Flip | None = None
    shared: Shared | None = None
    """None where the answer holds no things."""
    cosine: float | None = None
    """The smallest of its vectors'; None where it holds none."""
    unlike: str | None = None
    """What is not the same although no figure says so: a tensor that is missing, another text or order."""
    things: str | None = None
    """Which thing is in one answer only, in a sentence."""

    @property
    def difference(self) -> float:
        """The worst of all its numbers."""
        return max(self.differences.values(), default=0.0)

    @property
    def says_something_else(self) -> bool:
        """Whether more is off than numbers."""
        return bool(self.flip or self.unlike or self.things)

    def problem(self, tolerance: float) -> str | None:
        """What is wrong with the answer, in a sentence; None when it is the same within the tolerance."""
        if self.flip is not None:
            return f"`{LABEL}` is {self.flip.got}, expected is {self.flip.expected}"
        if self.unlike or self.things:
            return self.unlike or self.things
        name, worst = max(self.differences.items(), key=lambda pair: pair[1], default=("", 0.0))
        return f"`{name}` differs by {worst:.2e}, the gate is {tolerance:.0e}" if not worst <= tolerance else None


def ranks(rows: Sequence[Row]) -> bool:
    """Whether the answers rank labels."""
    return all({LABEL, SCORE} <= row.keys() for row in rows) and bool(rows)


def vectors_in(rows: Sequence[Row]) -> frozenset[str]:
    """The tensors that hold vectors: numbers with a fraction, more than one and in each row as many."""
    names = {name for row in rows for name in row} - ({SCORE} if ranks(rows) else set())
    return frozenset(name for name in names if _are_vectors([row[name] for row in rows if name in row]))


def _are_vectors(arrays: Sequence[Array]) -> bool:
    sizes = {array.size for array in arrays}
    return all(array.ndim == 1 and array.dtype.kind == "f" for array in arrays) and len(sizes) == 1 and sizes != {1}


def compare(expected: Row, got: Row, vectors: frozenset[str] = frozenset()) -> Case:
    """Measure one answer by another."""
    case = Case({})
    for name, want in sorted(expected.items()):
        if name not in got:
            case.unlike = case.unlike or f"`{name}` is missing"
        elif name == SCORE and LABEL in expected:
            continue  # compared with its labels
        elif name == LABEL and SCORE in expected and SCORE in got:
            _compare_ranking(case, expected, got)
        elif want.dtype.kind in "OSU":
            _compare_texts(case, name, want, got[name])
        elif want.dtype.kind in "iub":
            if not _same_numbers(want, got[name]):
                case.unlike = case.unlike or f"`{name}` is {got[name].tolist()}, expected is {want.tolist()}"
        else:
            case.differences[name] = largest_difference(got[name], want)
            if name in vectors:
                similar = cosine(got[name], want)
                case.cosine = similar if case.cosine is None else min(case.cosine, similar)
    return case


def largest_difference(answer: Array, expected: Array) -> float:
    """The largest absolute difference; infinite when shapes differ or a value is not a number."""
    if answer.shape != expected.shape or answer.dtype.kind not in "fiub":
        return float("inf")
    if answer.size == 0:
        return 0.0
    difference = float(np.max(np.abs(answer.astype(np.float64) - expected.astype(np.float64))))
    return difference if np.isfinite(difference) else float("inf")


def cosine(one: Array, other: Array) -> float:
    """Of the angle between two vectors [n]; 0 where one has no direction (zeros, no numbers, another n), 1 if both are
    zero."""
    if one.shape != other.shape or one.dtype.kind not in "fiub":
        return 0.0
    left, right = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    if lengths == 0.0:
        return float(not left.any() and not right.any())
    similar = float(left @ right) / lengths
    return max(-1.0, min(1.0, similar)) if np.isfinite(similar) else 0.0


def _compare_ranking(case: Case, expected: Row, got: Row) -> None:
    wanted, given = ([text_of(each) for each in row[LABEL].ravel()] for row in (expected, got))
    if len(wanted) != len(given) or not wanted:
        if wanted != given:
            case.unlike = case.unlike or f"`{LABEL}` has {len(given)} labels, expected are {len(wanted)}"
        return
    scores, other = _scores(wanted, expected[SCORE]), _scores(given, got[SCORE])
    if wanted[0] != given[0]:
        best = scores[wanted[0]]
        gap = best - scores.get(given[0], 0.0)
        # Of labels that tie to the last bit either may come first.
        if not gap <= 0:
            case.flip = Flip(wanted[0], given[0], gap)
    if scores.keys() == other.keys():
        pairs = [(other[label], score) for label, score in scores.items()]
        case.differences[SCORE] = largest_difference(*(np.array(side) for side in zip(*pairs, strict=True)))
    elif case.flip is None:
        unknown = sorted(other.keys() - scores.keys())
        case.unlike = case.unlike or f"`{LABEL}` holds {', '.join(unknown)}, which is not expected"


def _scores(labels: Sequence[str], scores: Array) -> dict[str, float]:
    """By label; of a label that is there twice the first counts. A score that is missing is no number."""
    flat = scores.astype(np.float64).ravel().tolist()
    flat += [float("nan")] * (len(labels) - len(flat))
    return dict(reversed(list(zip(labels, flat, strict=False))))


def _compare_texts(case: Case, name: str, want: Array, got: Array) -> None:
    wanted, given = [text_of(each) for each in want.ravel()], [text_of(each) for each in np.ravel(got)]
    expected, found = _things_in(wanted), _things_in(given)
    if expected is not None and found is not None:
        _compare_things(case, name, expected, found)
    elif wanted != given:
        case.unlike = case.unlike or f"`{name}` is {', '.join(given)}, expected is {', '.join(wanted)}"


def _things_in(texts: Sequence[str]) -> list[Any] | None:
    """The elements of lists and the objects that the texts are in JSON; None when one of them is neither."""
    things: list[Any] = []
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            return None
        if not isinstance(value, dict | list):
            return None
        things += value if isinstance(value, list) else [value]
    return things


def _compare_things(case: Case, name: str, expected: Sequence[Any], got: Sequence[Any]) -> None:
    wanted, given = [_without_fractions(each) for each in expected], [_without_fractions(each) for each in got]
    waiting: dict[str, list[Any]] = defaultdict(list)
    for identity, thing in zip(given, got, strict=True):
        waiting[identity].append(thing)
    both, worst, lacking = 0, 0.0, []
    for identity, thing in zip(wanted, expected, strict=True):
        if waiting[identity]:
            both += 1
            other = waiting[identity].pop(0)
            pairs = zip(_fractions(other), _fractions(thing), strict=True)
            worst = max([worst, *(largest_difference(np.array(one), np.array(two)) for one, two in pairs)])
        else:
            lacking.append(thing)
    case.differences[name] = worst
    case.shared = (case.shared or Shared()) + Shared(both, len(expected), len(got))
    if both == len(expected) == len(got):
        case.unlike = case.unlike or (None if wanted == given else f"`{name}` holds the same in another order")
    else:
        case.things = case.things or _which_differ(name, lacking, [each for rest in waiting.values() for each in rest])


def _which_differ(name: str, lacking: Sequence[Any], surplus: Sequence[Any]) -> str:
    said = [f"lacks {json.dumps(lacking[0], ensure_ascii=False)}"] if lacking else []
    said += [f"holds {json.dumps(surplus[0], ensure_ascii=False)}, which is not expected"] if surplus else []
    return f"`{name}` {' and '.join(said)}"


def _without_fractions(thing: Any) -> str:
    """What a thing is called by: all of it but its numbers with a fraction, which may be off a little."""
    return json.dumps(_masked(thing), sort_keys=True)


def _masked(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _masked(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [_masked(value) for value in thing]
    return "a fraction" if isinstance(thing, float) else thing


def _fractions(thing: Any) -> Iterator[float]:
    """The numbers with a fraction in a thing, in the order of its sorted keys."""
    if isinstance(thing, float):
        yield thing
    elif isinstance(thing, dict | list):
        for value in [thing[key] for key in sorted(thing)] if isinstance(thing, dict) else thing:
            yield from _fractions(value)


def _same_numbers(want: Array, got: Array) -> bool:
    """Rows of token ids are padded with zeros to the longest of their request."""
    return got.dtype.kind in "iub" and np.array_equal(got[: len(want)], want) and not got[len(want) :].any()


def text_of(value: object) -> str:
    """An element of a BYTES tensor, which comes as bytes over HTTP and as text from conch_client."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
