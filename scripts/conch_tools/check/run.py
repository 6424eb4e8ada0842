"""Checking a repository: load it once, ask every rule, sort what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conch_tools.check.findings import Finding
from conch_tools.check.repository import load_repository
from conch_tools.check.rules import RULEBOOKS


def check_repository(repository: Path, backends: Path | Sequence[Path] | None = None) -> list[Finding]:
    """Everything that is wrong with a model repository, by file and line; no server is asked.

    Args:
        repository: the folder that Triton gets as `--model-repository`.
        backends: the folders that hold backends beside Triton's own; None leaves their existence unjudged.

    Raises:
        SettingsError: `repository` is no model repository.
    """
    loaded = load_repository(repository, backends)
    findings = {finding for book in RULEBOOKS for finding in book.findings(loaded)}
    return sorted(findings, key=lambda finding: finding.position)
