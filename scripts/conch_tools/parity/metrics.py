"""How one answer is off from another: label flips, shared spans, cosine of vectors, difference of numbers.

What is measured follows from what the expected answer holds, whoever gave it:

- a tensor `label` of texts with its `score`s is a ranking: its best label counts, and the score of each label;
- BYTES that hold JSON are things found (entities, answers, items of a catalogue): they are counted as shared, expected
  and got. Their numbers with a fraction are compared, everything else of a thing must be the same;
- whole numbers and other texts are the same or not;
- all other numbers have a worst difference, and vectors (rows that are all of one length) a cosine.

What is the same, and how far numbers are apart, is conch_tools.likeness's to say; here it becomes counts and sentences.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conch_tools.likeness import Array, json_in, kind_of, largest_difference, parted, text_of

LABEL, SCORE = "label", "score"
TOKENS = "input_ids"
"""What steps pad with zeros to the longest of their request."""
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
    """Worst absolute difference of each tensor's numbers; infinite for another shape, and where one alone is NaN."""
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

    def is_unlike(self, sentence: str) -> None:
        """Note what is not the same; what was noted first stays."""
        self.unlike = self.unlike or sentence

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


def compare(expected: Row, got: Row, vectors: frozenset[str] = frozenset(), of_step: bool = False) -> Case:
    """Measure one answer by another.

    The answer of a step may hold more than is expected of it, and its token ids may be padded.
    """
    case = Case({})
    for name, want in sorted(expected.items()):
        if name not in got:
            case.is_unlike(f"`{name}` is missing")
        elif kind_of(want) != kind_of(got[name]):
            case.is_unlike(f"`{name}` holds {kind_of(got[name])}, expected are {kind_of(want)}")
        elif name in (LABEL, SCORE) and {LABEL, SCORE} <= expected.keys() & got.keys():
            if name == LABEL and kind_of(expected[SCORE]) == kind_of(got[SCORE]):
                _compare_ranking(case, expected, got)
        elif kind_of(want) == "texts":
            _compare_texts(case, name, want, got[name])
        elif kind_of(want) == "numbers with a fraction":
            case.differences[name] = largest_difference(got[name], want)
            if name in vectors:
                similar = cosine(got[name], want)
                case.cosine = similar if case.cosine is None else min(case.cosine, similar)
        elif not np.array_equal(_without_padding(got[name], want) if of_step and name == TOKENS else got[name], want):
            case.is_unlike(f"`{name}` is {got[name].tolist()}, expected is {want.tolist()}")
    for name in sorted(got.keys() - expected.keys()) if not of_step else ():
        case.is_unlike(f"`{name}` is not expected")
    return case


def cosine(one: Array, other: Array) -> float:
    """Of the angle between two vectors [n]; 0 where one has no direction (zeros, no numbers, another n), 1 if both are
    zero."""
    if one.shape != other.shape:
        return 0.0
    left, right = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    if lengths == 0.0:
        return float(not left.any() and not right.any())
    similar = float(left @ right) / lengths
    return max(-1.0, min(1.0, similar)) if np.isfinite(similar) else 0.0


def _compare_ranking(case: Case, expected: Row, got: Row) -> None:
    wanted, given = ([text_of(each) for each in row[LABEL].flat] for row in (expected, got))
    if expected[LABEL].ndim != got[LABEL].ndim:
        case.is_unlike(_another_shape(LABEL, expected[LABEL], got[LABEL]))
        return
    if len(wanted) != len(given):
        case.is_unlike(f"`{LABEL}` has {len(given)} labels, expected are {len(wanted)}")
        return
    if wanted[:1] != given[:1]:
        scores = dict(reversed(_by_label(wanted, expected[SCORE])))
        gap = scores.get(wanted[0], math.nan) - scores.get(given[0], 0.0)
        # Of labels that tie to the last bit either may come first.
        if not gap <= 0:
            case.flip = Flip(wanted[0], given[0], gap)
    if expected[SCORE].shape != got[SCORE].shape:
        case.differences[SCORE] = math.inf
    elif sorted(wanted) == sorted(given):
        sides = (_by_label(given, got[SCORE]), _by_label(wanted, expected[SCORE]))
        case.differences[SCORE] = largest_difference(*(np.array([score for _, score in side]) for side in sides))
    elif case.flip is None:
        unknown = sorted(set(given) - set(wanted)) or sorted(given)
        case.is_unlike(f"`{LABEL}` holds {', '.join(unknown)}, which is not expected")


def _by_label(labels: Sequence[str], scores: Array) -> list[tuple[str, float]]:
    """Each label with its score, in the order of the labels; of the same label that is there twice, as they came."""
    return sorted(zip(labels, scores.ravel().tolist(), strict=False), key=lambda pair: pair[0])


def _compare_texts(case: Case, name: str, want: Array, got: Array) -> None:
    if want.shape != got.shape:
        case.is_unlike(_another_shape(name, want, got))
        return
    for wanted, given in zip(map(text_of, want.flat), map(text_of, got.flat), strict=True):
        expected, found = json_in(wanted), json_in(given)
        if isinstance(expected, list) and isinstance(found, list):
            _compare_things(case, name, expected, found)
        elif isinstance(expected, dict) and isinstance(found, dict):
            _compare_things(case, name, [expected], [found])
        elif wanted != given:
            case.is_unlike(f"`{name}` is {given}, expected is {wanted}")


def _compare_things(case: Case, name: str, expected: Sequence[Any], got: Sequence[Any]) -> None:
    """Elements of two lists, or an object each. Things are the same when all is but their numbers with a fraction."""
    wanted, given = [parted(each) for each in expected], [parted(each) for each in got]
    waiting: dict[str, list[tuple[Any, list[float]]]] = defaultdict(list)
    for thing, (identity, fractions) in zip(got, given, strict=True):
        waiting[identity].append((thing, fractions))
    both, worst, lacking = 0, case.differences.get(name, 0.0), []
    for thing, (identity, fractions) in zip(expected, wanted, strict=True):
        if waiting[identity]:
            both += 1
            _, others = waiting[identity].pop(0)
            worst = max(worst, largest_difference(np.array(others), np.array(fractions)))
        else:
            lacking.append(thing)
    case.differences[name] = worst
    case.shared = (case.shared or Shared()) + Shared(both, len(expected), len(got))
    if not both == len(expected) == len(got):
        surplus = [thing for rest in waiting.values() for thing, _ in rest]
        case.things = case.things or _which_differ(name, lacking, surplus)
    elif [identity for identity, _ in wanted] != [identity for identity, _ in given]:
        case.is_unlike(f"`{name}` holds the same in another order")


def _which_differ(name: str, lacking: Sequence[Any], surplus: Sequence[Any]) -> str:
    said = [f"lacks {json.dumps(lacking[0], ensure_ascii=False)}"] if lacking else []
    said += [f"holds {json.dumps(surplus[0], ensure_ascii=False)}, which is not expected"] if surplus else []
    return f"`{name}` {' and '.join(said)}"


def _another_shape(name: str, want: Array, got: Array) -> str:
    return f"`{name}` has the shape {list(got.shape)}, expected is {list(want.shape)}"


def _without_padding(got: Array, want: Array) -> Array:
    return got if got[len(want) :].any() else got[: len(want)]
