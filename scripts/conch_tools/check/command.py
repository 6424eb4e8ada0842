"""What `conch check` does with its arguments: which repositories, with which backends, and which rules count."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conch_tools.check.backends import KINDS
from conch_tools.check.explain import cure_for_code
from conch_tools.check.findings import Finding
from conch_tools.check.repository import CONFIG, PROFILES
from conch_tools.check.rules import all_rules
from conch_tools.check.run import check_repository
from conch_tools.errors import SettingsError
from conch_tools.pipelines import visible_folders
from conch_tools.settings import Settings

_BACKENDS_BESIDE = "python_backends"
"""The folder beside a repository that holds its backends, as it does in this project."""
_MODEL_FILES = frozenset(kind.filename for kind in KINDS)


@dataclass(frozen=True)
class Selection:
    """Which rules count, by codes or how these begin: `ENS` is every rule about ensembles. Nothing selects all."""

    selected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, selected: Sequence[str], ignored: Sequence[str]) -> Selection:
        """From what was written on the command line, where commas may stand between codes.

        Raises SettingsError for what no code begins with.
        """
        return cls(_codes(selected), _codes(ignored))

    def takes(self, code: str) -> bool:
        """Whether the rule of this code counts."""
        return (not self.selected or code.startswith(self.selected)) and not code.startswith(self.ignored)


def check(
    settings: Settings,
    paths: Sequence[Path],
    backends: Sequence[Path] = (),
    selection: Selection | None = None,
    *,
    gpu: bool | None = None,
) -> list[Finding]:
    """The findings in every repository that is named, or that holds a file that is named.

    Files that belong to no model are passed over, so that a commit's changed files can be named as they are.

    Args:
        settings: whose repository is checked when no path is given.
        paths: folders with one folder a model, models in them, or files of a model.
        backends: folders with backends. None given: those of CONCH_BACKENDS; else the settings' own for the settings'
            repository, `python_backends` beside any other; and where there is no such folder, nothing is said about
            backends being there.
        selection: the rules that count, all by default.
        gpu: whether the machine that serves has a GPU; None looks at this one.

    Raises:
        SettingsError: a path or a folder of backends is not there, or a folder is no model repository or an empty one.
    """
    rules = selection or Selection()
    found = []
    for repository in _repositories(settings, paths):
        if repository.is_dir() and not visible_folders(repository):
            raise SettingsError(f"{repository} is empty: name a model repository, a folder with one folder a model")
        folders = _backends_of(repository, settings, backends)
        findings = check_repository(repository, folders, gpu=gpu)
        found += [finding for finding in findings if rules.takes(finding.code)]
    return found


def _codes(written: Sequence[str]) -> tuple[str, ...]:
    codes = tuple(code.strip().upper() for each in written for code in each.split(",") if code.strip())
    for code in codes:
        if not any(rule.code.startswith(code) for rule in all_rules()):
            raise SettingsError(f"no rule's code begins with {code}: {cure_for_code(code)}")
    return codes


def _repositories(settings: Settings, paths: Sequence[Path]) -> list[Path]:
    if not paths:
        return [settings.repository]
    found = []
    for path in paths:
        if not path.exists():
            raise SettingsError(f"{path} is not there: name a model repository, or a file in one")
        is_repository = path.is_dir() and not _is_model(path)
        repository = path if is_repository else repository_holding(path)
        if repository is not None and repository not in found:
            found.append(repository)
    return found


def repository_holding(path: Path) -> Path | None:
    """The repository that a model or a file belongs to, None for a file of no model.

    A model's folder is known by its config.pbtxt, by a model file in a version folder, or by configs/<profile>.pbtxt
    beside a version folder.
    """
    path = path.absolute()
    return next((folder.parent for folder in (path, *path.parents) if _is_model(folder)), None)


def _is_model(folder: Path) -> bool:
    # Of a folder that this user may not look into nothing is known; is_file() would raise.
    if os.path.isfile(folder / CONFIG):
        return True
    versions = [each for each in folder.glob("[0-9]*") if each.name.isdigit() and not os.path.isfile(each / CONFIG)]
    has_files = any(os.path.exists(version / name) for version in versions for name in _MODEL_FILES)
    return has_files or (bool(versions) and any((folder / PROFILES).glob("*.pbtxt")))


def _backends_of(repository: Path, settings: Settings, given: Sequence[Path]) -> list[Path] | None:
    named = given or ([settings.backends] if "backends" in settings.model_fields_set else [])
    for folder in named:
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder: name one that holds backends")
    if named:
        return list(named)
    own = repository.resolve() == settings.repository.resolve()
    folder = settings.backends if own else repository.resolve().parent / _BACKENDS_BESIDE
    return [folder] if folder.is_dir() else None
