"""Findings that an author knows of and wants to keep: a comment in the file says which.

    dynamic_batching { default_queue_policy { max_queue_size: 64 } }  # conch: ignore CFG015

It stands on the line of the finding, or alone on the line before, and names one code or several with commas between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from conch_tools.check.findings import Finding, lines_in

_COMMENT = re.compile(r"#\s*conch:\s*ignore\s+(?P<codes>[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)", re.IGNORECASE)


def without_suppressed(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that no comment in their file speaks of. Files and folders as a whole have no place for one."""
    lines_of = cache(lines_in)
    return [each for each in findings if each.line is None or each.code not in _ignored(lines_of(each.file), each.line)]


def _ignored(lines: Sequence[str], number: int) -> set[str]:
    """The codes that a line, counted from 1, or the comment before it speaks of."""
    own = lines[number - 1 : number]
    before = [line for line in lines[max(number - 2, 0) : number - 1] if line.lstrip().startswith("#")]
    comments = (match["codes"] for line in (*own, *before) if (match := _COMMENT.search(line)))
    return {code.strip().upper() for codes in comments for code in codes.split(",")}
