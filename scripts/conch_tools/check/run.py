"""Checking a repository: load it once for each profile, ask every rule, sort what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conch_tools.check.findings import Finding
from conch_tools.check.machine import gpu_is_here
from conch_tools.check.repository import PROFILES, Repository, load_repository, profiles_of
from conch_tools.check.rules import RULEBOOKS
from conch_tools.check.suppression import without_suppressed


def check_repository(
    repository: Path,
    backends: Path | Sequence[Path] | None = None,
    *,
    profiles: Sequence[str | None] | None = None,
    hashed: bool = True,
    gpu: bool | None = None,
) -> list[Finding]:
    """Everything that is wrong with a model repository, by file and line; no server is asked.

    Each fault is told once, of the first profile that meets it, and none that a comment in the file suppresses.

    Args:
        repository: the folder that Triton gets as `--model-repository`.
        backends: the folders that hold backends beside Triton's own; None leaves their existence unjudged.
        profiles: the hardware profiles to look at, None for config.pbtxt alone; all that there are by default.
        hashed: whether files are compared with the SHA-256 that their build recorded, at a second or so a gigabyte.
            Steps do so themselves when they load.
        gpu: whether the machine that serves has a GPU; None looks at this one.

    Raises:
        SettingsError: `repository` is no model repository.
    """
    first_met: dict[Finding, str | None] = {}
    plain: Repository | None = None
    has_gpu = gpu_is_here() if gpu is None else gpu
    for number, profile in enumerate((None, *profiles_of(repository)) if profiles is None else profiles):
        # Files do not differ between profiles: to read them once is enough.
        once = hashed and number == 0
        loaded = load_repository(repository, backends, profile, hashed=once, has_gpu=has_gpu, without_profile=plain)
        plain = loaded if profile is None else plain
        for book in RULEBOOKS:
            for finding in book.findings(loaded):
                first_met.setdefault(finding, profile)
    findings = [_told_with(profile, finding) for finding, profile in first_met.items()]
    return sorted(without_suppressed(findings), key=lambda finding: finding.position)


def _told_with(profile: str | None, finding: Finding) -> Finding:
    of_its_own = finding.file.parent.name == PROFILES
    return finding if of_its_own else replace(finding, profile=profile)
