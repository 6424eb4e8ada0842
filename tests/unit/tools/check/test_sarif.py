"""The SARIF log: what the standard requires, and what GitHub's code scanning needs to show an alert."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conch_tools.check import Finding, Severity
from conch_tools.check.findings import Place
from conch_tools.check.rules import all_rules
from conch_tools.check.sarif import sarif

LEVELS = ("none", "note", "warning", "error")
"""The standard's own."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, whose name a URI must code."""
    folder = tmp_path / "my models" / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").touch()
    return folder


@pytest.fixture
def finding(model: Path) -> Finding:
    return Finding("CFG001", Severity.ERROR, Place(model / "config.pbtxt", 3, 7), "no field", "Triton stops", "drop it")


def run_of(log: Mapping[str, Any]) -> dict[str, Any]:
    (run,) = log["runs"]
    return dict(run)


def location(finding: Finding, root: Path) -> dict[str, Any]:
    (result,) = run_of(sarif([finding], root))["results"]
    (place,) = result["locations"]
    return dict(place["physicalLocation"])


def test_a_log_names_its_version_and_its_tool(tmp_path: Path) -> None:
    log = sarif([], tmp_path)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    run = run_of(log)
    assert run["tool"]["driver"]["name"] == "conch check"
    assert run["results"] == []


def test_every_rule_is_described(tmp_path: Path) -> None:
    described = run_of(sarif([], tmp_path))["tool"]["driver"]["rules"]
    assert [each["id"] for each in described] == sorted(rule.code for rule in all_rules())
    for each in described:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", each["name"])
        assert each["shortDescription"]["text"] and each["fullDescription"]["text"] and each["help"]["text"]
        assert "Bad " in each["help"]["markdown"]
        assert each["defaultConfiguration"]["level"] in LEVELS


def test_a_result_refers_to_its_rule_and_says_what_and_how_to_mend_it(finding: Finding, tmp_path: Path) -> None:
    run = run_of(sarif([finding], tmp_path))
    (result,) = run["results"]
    assert result["ruleId"] == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "CFG001"
    assert result["level"] == "error"
    assert result["message"]["text"] == "no field. Cure: drop it"


def test_a_file_below_the_root_has_a_relative_uri_and_a_region(finding: Finding, tmp_path: Path) -> None:
    assert location(finding, tmp_path) == {
        "artifactLocation": {"uri": "my%20models/m/config.pbtxt", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3, "startColumn": 7},
    }
    base = run_of(sarif([finding], tmp_path))["originalUriBaseIds"]["%SRCROOT%"]["uri"]
    assert base == f"{tmp_path.as_uri()}/"


def test_a_file_elsewhere_has_a_whole_uri(finding: Finding, tmp_path: Path) -> None:
    artifact = location(finding, tmp_path / "other")["artifactLocation"]
    assert artifact == {"uri": finding.file.as_uri()}


def test_a_name_that_is_no_text_is_coded(finding: Finding, model: Path, tmp_path: Path) -> None:
    file = model / os.fsdecode(b"caf\xe9.pbtxt")
    file.touch()
    artifact = location(replace(finding, place=Place(file, 1)), tmp_path)["artifactLocation"]
    assert artifact["uri"] == "my%20models/m/caf%E9.pbtxt"


@pytest.mark.parametrize("folder", [".", "1", "1/model.py"])
def test_a_folder_or_what_is_missing_is_shown_at_the_top_of_the_models_configuration(
    finding: Finding, model: Path, tmp_path: Path, folder: str
) -> None:
    assert location(replace(finding, place=Place(model / folder)), tmp_path) == {
        "artifactLocation": {"uri": "my%20models/m/config.pbtxt", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1},
    }


def test_a_fingerprint_stays_when_lines_move_and_differs_between_alike_findings(
    finding: Finding, tmp_path: Path
) -> None:
    def fingerprints(*findings: Finding) -> list[str]:
        results = run_of(sarif(findings, tmp_path))["results"]
        return [each["partialFingerprints"]["conchFinding/v1"] for each in results]

    moved = replace(finding, place=replace(finding.place, line=30))
    assert fingerprints(finding) == fingerprints(moved)
    assert len({*fingerprints(finding, moved, replace(finding, what="other"))}) == 3
