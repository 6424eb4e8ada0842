"""Findings as a SARIF 2.1.0 log, the form that code scanning of GitHub and others takes.

What GitHub makes of it decides where the standard leaves a choice
(https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning):
an alert is shown in a file and at a line, so a folder at fault is shown at the top of its model's config.pbtxt; and an
alert stays the same one as long as its fingerprint does, so that counts neither lines nor what is around them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conch_tools.check.explain import in_markdown
from conch_tools.check.findings import Finding, Place
from conch_tools.check.repository import CONFIG
from conch_tools.check.rulebook import Rule
from conch_tools.check.rules import all_rules

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
"""What GitHub's own analyses call the checkout."""
_FINGERPRINT = "conchFinding/v1"


def sarif(findings: Sequence[Finding], root: Path) -> dict[str, Any]:
    """The log of one run. Files below `root` have URIs relative to it, which code scanning takes for the checkout."""
    rules = sorted(all_rules(), key=lambda rule: rule.code)
    numbers = {rule.code: number for number, rule in enumerate(rules)}
    fingerprints = _fingerprints(findings, root)
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "conch check",
                        "semanticVersion": importlib.metadata.version("conch"),
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "originalUriBaseIds": {_ROOT: {"uri": f"{root.absolute().as_uri()}/"}},
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(finding, root, numbers, fingerprint)
                    for finding, fingerprint in zip(findings, fingerprints, strict=True)
                ],
            }
        ],
    }


def _rule(rule: Rule[Any]) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.check.__name__.split("_")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.why, "markdown": in_markdown(rule)},
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"problem.severity": rule.severity.value, "precision": "high", "tags": ["triton"]},
    }


def _result(finding: Finding, root: Path, numbers: Mapping[str, int], fingerprint: str) -> dict[str, Any]:
    return {
        "ruleId": finding.code,
        "ruleIndex": numbers[finding.code],
        "level": finding.severity.value,
        "message": {"text": f"{finding.what}. Cure: {finding.cure}"},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(finding, root), "region": _region(finding)}}],
        "partialFingerprints": {_FINGERPRINT: fingerprint},
    }


def _artifact(finding: Finding, root: Path) -> dict[str, str]:
    file = finding.file
    # Of a folder that this user may not look into nothing is known; is_file() would raise.
    if not os.path.isfile(file):
        models = (folder / CONFIG for folder in (file, *file.parents[:2]))
        file = next((config for config in models if os.path.isfile(config)), file)
    path = Place(file).file_from(root)
    if path.is_absolute() or ".." in path.parts:
        return {"uri": Path(os.path.abspath(path)).as_uri()}
    return {"uri": quote(os.fsencode(path)), "uriBaseId": _ROOT}


def _region(finding: Finding) -> dict[str, int]:
    region = {"startLine": finding.line or 1}
    return region if finding.place.column is None else {**region, "startColumn": finding.place.column}


def _fingerprints(findings: Sequence[Finding], root: Path) -> list[str]:
    """One for each finding; of those that are alike in a file, the first, the second and so on."""
    alike, fingerprints = Counter[tuple[str, ...]](), []
    for finding in findings:
        facts = (finding.code, finding.place.file_from(root).as_posix(), finding.what, finding.profile or "")
        alike[facts] += 1
        fingerprints.append(hashlib.sha256(os.fsencode("\n".join((*facts, str(alike[facts]))))).hexdigest())
    return fingerprints
