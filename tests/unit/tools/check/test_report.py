"""Findings for people and for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conch_tools.check import Finding, Format, Severity, has_errors, render
from conch_tools.check.findings import Place


@pytest.fixture
def error(tmp_path: Path) -> Finding:
    """A finding in the third line of a file."""
    file = tmp_path / "r" / "m" / "config.pbtxt"
    file.parent.mkdir(parents=True)
    file.write_text('name: "m"\n\n  max_batchsize: 3\n')
    return Finding("CFG001", Severity.ERROR, Place(file, 3, 7), "no such field", "Triton stops", "remove it")


@pytest.fixture
def warning(tmp_path: Path) -> Finding:
    """A finding about a folder."""
    place = Place(tmp_path / "r" / "n")
    return Finding("FIL001", Severity.WARNING, place, "no model", "Triton takes it for one", "move it")


def test_an_entry_begins_with_a_place_that_editors_understand_and_goes_on_with_line_cure_and_reason(
    error: Finding, warning: Finding, tmp_path: Path
) -> None:
    assert render([error, warning], root=tmp_path).splitlines() == [
        "r/m/config.pbtxt:3:7: CFG001 error: no such field",
        "  3 | max_batchsize: 3",
        "  cure: remove it",
        "  why:  Triton stops",
        "r/n: FIL001 warning: no model",
        "  cure: move it",
        "  why:  Triton takes it for one",
        "1 error, 1 warning (conch check --explain CFG001 shows an example)",
    ]


def test_the_reason_is_told_once_for_each_code(error: Finding, tmp_path: Path) -> None:
    twice = render([error, replace(error, what="another")], root=tmp_path)
    assert twice.count("  why:  Triton stops\n") == 1
    assert "2 errors, 0 warnings" in twice


def test_files_elsewhere_are_named_as_they_are(error: Finding, tmp_path: Path) -> None:
    assert render([error], root=tmp_path / "other").startswith(f"{tmp_path}/r/m/config.pbtxt:3:7: CFG001")


def test_the_profile_that_it_takes_is_told(error: Finding, tmp_path: Path) -> None:
    line = render([replace(error, profile="gpu")], root=tmp_path).splitlines()[0]
    assert line.endswith("error: no such field (with profile `gpu`)")


def test_names_cannot_move_the_cursor_or_begin_a_line(error: Finding, tmp_path: Path) -> None:
    lines = render([replace(error, what="no `\x1b[2Ja\nr/x:1: CFG001 error: b`")], root=tmp_path).splitlines()
    assert lines[0] == r"r/m/config.pbtxt:3:7: CFG001 error: no `\x1b[2Ja\nr/x:1: CFG001 error: b`"


def test_a_sound_repository_is_one_line() -> None:
    assert render([]) == "no faults found"


def test_json_has_the_same_facts_and_the_reason(error: Finding, tmp_path: Path) -> None:
    assert json.loads(render([error], Format.JSON, tmp_path)) == [
        {
            "code": "CFG001",
            "severity": "error",
            "file": "r/m/config.pbtxt",
            "line": 3,
            "column": 7,
            "profile": None,
            "what": "no such field",
            "why": "Triton stops",
            "cure": "remove it",
        }
    ]
    assert json.loads(render([], Format.JSON)) == []


def test_only_errors_fail_a_check(error: Finding, warning: Finding) -> None:
    assert has_errors([warning, error])
    assert not has_errors([warning])
