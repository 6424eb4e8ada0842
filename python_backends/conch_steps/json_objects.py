"""JSON objects from callers, read so strictly that none is misunderstood, and how what is wrong with them is shown.

Python's reader would take the last of two values of one name, and the caller would never hear of the other.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Sequence

from conch_steps.errors import InvalidInput
from conch_steps.texts import utf8

SHOWN_CHARACTERS = 60
EXACT_DIGITS = 18
"""Longer whole numbers become floats at once: one of a thousand digits is infinite then, and refused like that."""


class _NamedTwice(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def read_object(raw: bytes, where: str, max_bytes: int) -> dict[str, object]:
    """The JSON object in `raw`; `where` names it in refusals.

    Raises InvalidInput for anything else, for more than `max_bytes`, and for a name that has two values.
    """
    text = utf8(raw, where, max_bytes)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except _NamedTwice as problem:
        raise InvalidInput(f"{where} names {shown(problem.name)} twice") from problem
    except RecursionError as problem:
        raise InvalidInput(f"{where} is nested too deeply: it must be an object of names and values") from problem
    except ValueError as problem:
        raise InvalidInput(f"{where} is not JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is {shown(value)}, but must be an object of names and values")
    return value


def shown(value: object) -> str:
    """A value in few words that any encoding can carry."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not a number (NaN)" if math.isnan(value) else "infinite"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, str):
        cut = value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…"
        return json.dumps(cut, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else json.dumps(value)


def known_instead(name: str, known: Collection[str]) -> str:
    """What to say to a caller whose name is unknown: the one that was meant, or all that there are."""
    close = difflib.get_close_matches(name[:SHOWN_CHARACTERS], known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"there are {', '.join(known)}"


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _NamedTwice(name)
        found[name] = value
    return found


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= EXACT_DIGITS else float(digits)
