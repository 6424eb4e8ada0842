"""On which line of a TOML file a field stands: the parser keeps no positions.

A forgiving reader of headers and keys, as `pbtxt` has one for config.pbtxt: what stands inside of a value it does not
see, and gives the line where the value begins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

Key = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[^\[\]]+?)\s*\]")
_ASSIGNMENT = re.compile(r"""\s*(?P<name>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_POSITION = re.compile(r"\(at line (\d+),")


def line_of(text: str, field: Sequence[str | int]) -> int | None:
    """The line of a field, counted from 1, or of what is nearest around it; None where there is nothing around it."""
    found = dict(_keys(text))
    for length in range(len(field), 0, -1):
        if tuple(field[:length]) in found:
            return found[tuple(field[:length])]
    return None


def line_in(sentence: str) -> int | None:
    """The line that a sentence of the parser names, None where it names none."""
    match = _POSITION.search(sentence)
    return int(match[1]) if match else None


def _keys(text: str) -> Iterator[tuple[Key, int]]:
    table: Key = ()
    elements: Counter[Key] = Counter()
    for line, content in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(content):
            name = _parts(header["name"])
            if header["open"] == "[[":
                elements[name] += 1
            table = _numbered(name, elements)
            yield table, line
        elif assignment := _ASSIGNMENT.match(content):
            yield (*table, *_parts(assignment["name"])), line


def _parts(name: str) -> Key:
    return tuple(part.strip("\"'") for part in _PART.findall(name))


def _numbered(name: Key, elements: Counter[Key]) -> Key:
    """A table's name with the number of the element of each list of tables that it is in."""
    numbered: list[str | int] = []
    for length, part in enumerate(name, start=1):
        numbered.append(part)
        if count := elements[name[:length]]:
            numbered.append(count - 1)
    return tuple(numbered)
