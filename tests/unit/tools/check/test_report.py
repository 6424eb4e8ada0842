"""Findings for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from conch_tools.check import Finding, Severity, has_errors, render
from conch_tools.check.findings import Place

ERROR = Finding(
    "CFG001",
    Severity.ERROR,
    Place(Path("r/m/config.pbtxt"), 3, 7),
    "no such field",
    "Triton stops",
    "remove it",
)
WARNING = Finding("FIL001", Severity.WARNING, Place(Path("r/n")), "no model", "Triton takes it for one", "move it")


def test_a_line_begins_with_a_place_that_editors_understand() -> None:
    assert render([ERROR, WARNING]).splitlines() == [
        "r/m/config.pbtxt:3:7: error CFG001 no such field (remove it)",
        "r/n: warning FIL001 no model (move it)",
        "1 error, 1 warning",
    ]


def test_a_sound_repository_is_one_line() -> None:
    assert render([]) == "no faults found"


def test_json_has_the_same_facts_and_the_reason() -> None:
    assert json.loads(render([ERROR], as_json=True)) == [
        {
            "code": "CFG001",
            "severity": "error",
            "file": "r/m/config.pbtxt",
            "line": 3,
            "column": 7,
            "what": "no such field",
            "why": "Triton stops",
            "cure": "remove it",
        }
    ]
    assert json.loads(render([], as_json=True)) == []


def test_only_errors_fail_a_check() -> None:
    assert has_errors([WARNING, ERROR])
    assert not has_errors([WARNING])
