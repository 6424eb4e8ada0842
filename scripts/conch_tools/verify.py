"""`conch verify`: whether a repository holds what was built, file by file.

Conch's own steps compare their files when they are loaded. C++ backends compare nothing, so what they serve is looked
at before the server starts: by this command, in an init container say. A file that no manifest lists is a fault as
well, because Triton would serve it like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from conch_steps.errors import ArtifactError
from conch_steps.manifest import MANIFEST_NAME, SIGNATURE_NAME, listed_files, verify_manifest
from conch_tools.errors import RepositoryError, in_words
from conch_tools.pipelines import visible_folders

HASHED_AT_ONCE = 4
"""hashlib lets other threads run while it works."""


@dataclass(frozen=True)
class Verified:
    """One version folder with files in it."""

    folder: Path
    files: int
    bytes: int
    problem: str | None
    """What is not as it was built; None when all is."""


def verify(repository: Path, models: Sequence[str] = ()) -> list[Verified]:
    """Every version folder of the repository, or of these models. Raises RepositoryError for a model that is not there,
    and where there is nothing to compare.

    A folder without files has nothing to compare and is left out, as an ensemble's is.
    """
    if not repository.is_dir():
        raise RepositoryError(f"there is no model repository {repository}: set CONCH_REPOSITORY, or name its folder")
    there = {folder.name: folder for folder in visible_folders(repository)}
    if missing := [model for model in models if model not in there]:
        raise RepositoryError(f"there is no model `{missing[0]}` in {repository}: there are {', '.join(there)}")
    versions = [
        version for name in (models or there) for version in visible_folders(there[name]) if version.name.isdigit()
    ]
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        found = [each for each in pool.map(_verified, versions) if each.files or each.problem]
    if not found:
        # A wrong or empty mount must not pass for a sound repository.
        raise RepositoryError(f"{repository} holds no built files: run `conch build`, or set CONCH_REPOSITORY")
    return found


def problem_of(version: Path) -> str | None:
    """What is not as it was built in a version folder; None when all is."""
    return _verified(version).problem


def require_as_built(repository: Path, models: Sequence[str]) -> None:
    """Raise RepositoryError with the first file of these models that is not what was built. What nobody built cannot
    differ: a folder without a manifest is left alone."""
    versions = [version for name in models for version in visible_folders(repository / name) if version.name.isdigit()]
    built = [version for version in versions if (version / MANIFEST_NAME).is_file()]
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        for found in pool.map(_verified, built):
            if found.problem is not None:
                raise RepositoryError(found.problem)


def _verified(version: Path) -> Verified:
    try:
        own = (version / MANIFEST_NAME, version / SIGNATURE_NAME)
        files = [path for path in _files(version) if path not in own]
        size = sum(path.stat().st_size for path in files)
        return Verified(version, len(files), size, _problem(version, files))
    except OSError as problem:
        return Verified(version, 1, 0, f"{version} cannot be read: {in_words(problem)}")


def _files(version: Path) -> Iterator[Path]:
    return (path for path in sorted(version.rglob("*")) if not path.is_dir())


def _problem(version: Path, files: Sequence[Path]) -> str | None:
    manifest = version / MANIFEST_NAME
    if not manifest.is_file():
        return f"{version} has no {MANIFEST_NAME}: nobody can tell whether it is what was built" if files else None
    try:
        verify_manifest(version)
        listed = listed_files(manifest)
    except ArtifactError as problem:
        return str(problem)
    strangers = [name for path in files if (name := path.relative_to(version).as_posix()) not in listed]
    return (
        f"{version / strangers[0]} is not listed in {MANIFEST_NAME}: remove it, or build again" if strangers else None
    )
