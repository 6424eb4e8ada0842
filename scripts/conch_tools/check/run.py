"""Checking a repository: load it once for each profile, ask every rule, sort what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conch_tools.check.findings import Finding
from conch_tools.check.repository import load_repository, profiles_of
from conch_tools.check.rules import RULEBOOKS


def check_repository(
    repository: Path,
    backends: Path | Sequence[Path] | None = None,
    *,
    profiles: Sequence[str | None] | None = None,
    hashed: bool = True,
) -> list[Finding]:
    """Everything that is wrong with a model repository, by file and line; no server is asked.

    Args:
        repository: the folder that Triton gets as `--model-repository`.
        backends: the folders that hold backends beside Triton's own; None leaves their existence unjudged.
        profiles: the hardware profiles to look at, None for config.pbtxt alone; all that there are by default.
        hashed: whether files are compared with the SHA-256 that their build recorded, at a second or so a gigabyte.
            Steps do so themselves when they load.

    Raises:
        SettingsError: `repository` is no model repository.
    """
    findings: set[Finding] = set()
    for number, profile in enumerate((None, *profiles_of(repository)) if profiles is None else profiles):
        # Files do not differ between profiles: to read them once is enough.
        loaded = load_repository(repository, backends, profile, hashed=hashed and number == 0)
        findings.update(finding for book in RULEBOOKS for finding in book.findings(loaded))
    return sorted(findings, key=lambda finding: finding.position)
