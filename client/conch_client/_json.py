"""Python values as JSON text: feature rows, and the questions and items of a catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ._cast import Misfit, unreadable
from ._errors import is_unicode


def as_json(value: object) -> str:
    """Mappings, collections, numpy's arrays and numbers, and dates as JSON has them. Raises Misfit."""
    try:
        text = json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as exc:
        raise Misfit(f"cannot be written as JSON: {exc}") from exc
    except Exception as exc:
        raise Misfit(f"cannot be written as JSON: {unreadable(value, exc)}") from exc
    if not is_unicode(text):
        raise Misfit("cannot be written as JSON: a text in it holds a lone surrogate, which UTF-8 cannot write")
    return text


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    # A missing date of pandas calls itself a date, but like every missing value it is not equal to itself.
    if hasattr(value, "isoformat") and value == value:
        return value.isoformat()
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no place in it")
