"""How far two tensors are apart, as a number and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from conch_tools.likeness import Array, kind_of, numbers_apart, text_of, texts_apart
from conch_tools.printable import shortened

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Difference:
    """Of two tensors."""

    worst: float
    """Largest absolute difference of their numbers, those within JSON texts too; infinite where they cannot be
    compared."""
    beyond: bool
    """Whether they differ by more than the tolerance."""
    words: str

    @classmethod
    def incomparable(cls, words: str) -> Difference:
        """Of tensors that are something else, whatever the tolerance."""
        return cls(math.inf, True, words)


def difference(one: Array, other: Array, tolerance: float) -> Difference:
    """Compare two tensors as conch_tools.likeness has it."""
    if kind_of(one) != kind_of(other):
        return Difference.incomparable(f"{kind_of(one)} against {kind_of(other)}")
    if one.shape != other.shape:
        return Difference.incomparable(f"shape {list(one.shape)} against {list(other.shape)}")
    if not one.size:
        return Difference(0.0, False, "empty")
    if kind_of(one) == "texts":
        pairs = [tuple(map(text_of, pair)) for pair in zip(one.flat, other.flat, strict=True)]
        apart: Array = np.array([texts_apart(*pair) for pair in pairs])
        first, second = map(_shortened, pairs[int(apart.argmax())])
        there = f"{first} against {second}"
    else:
        apart = numbers_apart(one, other)
        place = tuple(int(each) for each in np.unravel_index(int(apart.argmax()), apart.shape))
        there = (
            f"worst difference {apart.max():.2g}, at {list(place)}: {_plain(one[place])} against {_plain(other[place])}"
        )
    worst = float(apart.max())
    if worst > tolerance:
        return Difference(worst, True, there)
    return Difference(worst, False, f"worst difference {worst:.1e}" if worst else "equal")


def _plain(value: Any) -> str:
    return f"{float(value):.6g}" if isinstance(value, np.floating) else str(value)


def _shortened(text: str) -> str:
    return repr(shortened(text, SHOWN_CHARACTERS))
