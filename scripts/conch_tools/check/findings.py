"""What a check says: a rule yields `Problem`s, the rulebook makes `Finding`s of them.

A problem holds what only the rule can know: the place, what is wrong there and the cure. Code, severity and
the reason why Triton refuses or misbehaves belong to the rule, so they are written once, beside its name and
in its docstring.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_LIKENESS = 0.6
"""How like two names must be, from 0 to 1, before one is offered for the other (difflib's own default)."""


class Severity(str, Enum):
    """What follows from a finding."""

    ERROR = "error"
    """Triton refuses to load the model, or requests that meet the fault fail or are answered wrongly. Of a
    pipeline.toml: its build or its samples fail."""

    WARNING = "warning"
    """Triton loads the model and may serve it rightly, but probably not as its author meant it."""


@dataclass(frozen=True)
class Place:
    """Where a problem is. `line` and `column` count from 1; a file or a folder as a whole has neither."""

    file: Path
    line: int | None = None
    column: int | None = None

    def file_from(self, folder: Path) -> Path:
        """The file relative to `folder` where it lies in it, as it was named otherwise."""
        # Links are left as they are: what they lead to is not what the reader knows by this name.
        path = Path(os.path.abspath(self.file))
        return path.relative_to(os.path.abspath(folder)) if path.is_relative_to(os.path.abspath(folder)) else self.file


@dataclass(frozen=True)
class Problem:
    """One fault that a rule found: where, what (a clause, no full stop) and its cure (an imperative)."""

    place: Place
    what: str
    cure: str


@dataclass(frozen=True)
class Finding:
    """One entry of a report: a problem with the code, the severity and the reason of its rule.

    `profile` is the hardware profile that it takes to meet a fault, None where it is met without one, or where the file
    is the profile's own.
    """

    code: str
    severity: Severity
    place: Place
    what: str
    why: str
    cure: str
    profile: str | None = None

    @property
    def file(self) -> Path:
        """The file or folder at fault."""
        return self.place.file

    @property
    def line(self) -> int | None:
        """The line at fault, counted from 1; None for a file or folder as a whole."""
        return self.place.line

    @property
    def position(self) -> tuple[str, int, int, str, str]:
        """Sort key: findings read from the top of each file to its end."""
        return (str(self.file), self.line or 0, self.place.column or 0, self.code, self.what)


def lines_in(file: Path) -> list[str]:
    """The lines of a file as places count them; none where there is no file."""
    return file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []


def closest(name: str, candidates: Iterable[str], likeness: float = _LIKENESS) -> str | None:
    """The candidate that `name` is most probably a misspelling of (case does not count), or None."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=likeness)
    return by_lower[matches[0]] if matches else None


def cure_for_name(name: str, candidates: Iterable[str], otherwise: str) -> str:
    """The cure for a name that does not exist: the name that was probably meant, else `otherwise`."""
    known = sorted(candidates)
    meant = closest(name, known)
    return f"did you mean `{meant}`?" if meant is not None else otherwise


def listed(names: Iterable[str], nothing: str = "none") -> str:
    """Names as they stand in a sentence: `a`, `b` and `c`, or `nothing` where there are none."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) < 2:
        return quoted[0] if quoted else nothing
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
