"""Findings as text for people and as JSON for programs; `sarif` has the third form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from conch_tools.check.findings import Finding, Place, Severity, lines_in
from conch_tools.check.sarif import sarif
from conch_tools.printable import printable

_QUOTED_CHARACTERS = 100


class Format(str, Enum):
    """The forms of a report."""

    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"


def render(findings: Sequence[Finding], form: Format = Format.HUMAN, root: Path | None = None) -> str:
    """The report of a check, without a newline at its end.

    Text has a line for each finding, `file:line: CODE severity: what`, which editors and CI logs turn into links; below
    it the line at fault, the cure and, for the first finding of each code, the reason. Its last line counts. JSON is
    one array of objects with the same facts, SARIF a log for code scanning.

    Files below `root`, the current folder unless told otherwise, are named relative to it.
    """
    folder = Path.cwd() if root is None else root
    match form:
        case Format.HUMAN:
            return _text(findings, folder)
        case Format.JSON:
            return json.dumps([_facts(finding, folder) for finding in findings], indent=2, ensure_ascii=False)
        case Format.SARIF:
            return json.dumps(sarif(findings, folder), indent=2, ensure_ascii=False)


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether Triton would refuse something, or answer wrongly: then the command must not exit with 0."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def _text(findings: Sequence[Finding], root: Path) -> str:
    lines, explained = list[str](), set[str]()
    for finding in findings:
        where = _where(finding.place, root)
        lines.append(f"{where}: {finding.code} {finding.severity.value}: {finding.what}{_served_as(finding)}")
        lines += _quoted(finding.place)
        lines.append(f"  cure: {finding.cure}")
        if finding.code not in explained:
            lines.append(f"  why:  {finding.why}")
            explained.add(finding.code)
    return "\n".join([*map(printable, lines), _summary(findings)])


def _where(place: Place, root: Path) -> str:
    return ":".join(str(part) for part in (place.file_from(root), place.line, place.column) if part is not None)


def _quoted(place: Place) -> list[str]:
    """The line at fault, if there is one to be shown."""
    if place.line is None:
        return []
    lines = lines_in(place.file)[place.line - 1 : place.line]
    return [f"  {place.line} | {line.strip():.{_QUOTED_CHARACTERS}}" for line in lines if line.strip()]


def _served_as(finding: Finding) -> str:
    return "" if finding.profile is None else f" (with profile `{finding.profile}`)"


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no faults found"
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    counted = f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}"
    return f"{counted} (conch check --explain {findings[0].code} shows an example)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _facts(finding: Finding, root: Path) -> dict[str, str | int | None]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "file": str(finding.place.file_from(root)),
        "line": finding.line,
        "column": finding.place.column,
        "profile": finding.profile,
        "what": finding.what,
        "why": finding.why,
        "cure": finding.cure,
    }
