"""What makes two answers the same, and how far apart two are: tensors, texts, and JSON within texts.

`conch xray` and `conch parity` both ask here, so that they never disagree. Numbers with a fraction may be near each
other; everything else is the same or not.

- Equal infinities are 0 apart. NaN is 0 apart from NaN, because an answer that repeats another is the same, and
  infinitely far from every number.
- Whole numbers are compared exactly, whatever their size.
- Truth values, whole numbers, numbers with a fraction and texts are four kinds: `1` is neither `true` nor `1.0`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Kind = Literal["texts", "truth values", "whole numbers", "numbers with a fraction"]
DEEPEST = 100
"""Of lists and objects within each other. Python's own limit depends on who asks."""
KINDS: dict[str, Kind] = {
    "b": "truth values",
    "i": "whole numbers",
    "u": "whole numbers",
    "f": "numbers with a fraction",
}
"""By NumPy's kind of dtype."""


def kind_of(array: Array) -> Kind:
    """What the elements of a tensor are."""
    return KINDS.get(array.dtype.kind, "texts")


def numbers_apart(one: Array, other: Array) -> npt.NDArray[np.float64]:
    """Absolute difference of each pair of numbers in two tensors of one shape and kind; 0 for equal ones only."""
    left, right = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(left - right)
    if kind_of(one) != "numbers with a fraction":
        # float64 calls neighbours above 2**53 equal.
        return np.where(one == other, 0.0, np.maximum(apart, 1.0))
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.where(np.isnan(apart), math.inf, apart))


def largest_difference(one: Array, other: Array) -> float:
    """The largest absolute difference of two tensors' numbers; infinite for another shape or kind, and of texts."""
    if one.shape != other.shape or kind_of(one) != kind_of(other) or kind_of(one) == "texts":
        return math.inf
    return float(numbers_apart(one, other).max(initial=0.0))


def text_of(value: object) -> str:
    """An element of a BYTES tensor, which comes as bytes over HTTP and as text from conch_client. Bytes that are no
    UTF-8 stay apart: each is written as its escape."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def json_in(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that a text is in JSON; None for any other text, and for one nested deeper than
    DEEPEST."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and not _is_deep(value) else None


def parted(value: Any) -> tuple[str, list[float]]:
    """A JSON value as a text of all that must be the same, and its numbers with a fraction, which may be near. Two with
    the same text have as many."""
    fractions: list[float] = []

    def without_fractions(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_fractions(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [without_fractions(each) for each in value]
        if isinstance(value, float):
            fractions.append(value)
            # `NaN`: nothing else that JSON holds is written so.
            return math.nan
        return value

    return json.dumps(without_fractions(value)), fractions


def texts_apart(one: str, other: str) -> float:
    """0 for the same text, the largest difference of their fractions for JSON that is the same in all else, infinite
    for other texts."""
    if one == other:
        return 0.0
    left, right = json_in(one), json_in(other)
    if left is None or right is None:
        return math.inf
    (same, fractions), (own, others) = parted(left), parted(right)
    return largest_difference(np.array(fractions), np.array(others)) if same == own else math.inf


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)
