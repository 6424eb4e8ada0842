"""Findings as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from conch_tools.check.findings import Finding, Place, Severity


def render(findings: Sequence[Finding], *, as_json: bool = False) -> str:
    """The report of a check, without a newline at its end.

    Text has one line a finding, `file:line: severity CODE what (cure)`, which editors and CI logs turn into
    links, and the count in the last line. JSON is one array of objects with the same facts and the reason
    `why`.
    """
    return _json(findings) if as_json else _text(findings)


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether Triton would refuse something, or answer wrongly: then the command must not exit with 0."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def _text(findings: Sequence[Finding]) -> str:
    return "\n".join([*(_line(finding) for finding in findings), _summary(findings)])


def _line(finding: Finding) -> str:
    head = f"{_where(finding.place)}: {finding.severity.value} {finding.code}"
    return f"{head} {finding.what} ({finding.cure})"


def _where(place: Place) -> str:
    return ":".join(str(part) for part in (place.file, place.line, place.column) if part is not None)


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no faults found"
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    return f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _json(findings: Sequence[Finding]) -> str:
    rows = [
        {
            "code": finding.code,
            "severity": finding.severity.value,
            "file": str(finding.file),
            "line": finding.line,
            "column": finding.place.column,
            "what": finding.what,
            "why": finding.why,
            "cure": finding.cure,
        }
        for finding in findings
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)
