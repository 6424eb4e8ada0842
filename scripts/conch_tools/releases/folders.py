"""The releases of a pipeline as they lie in the repository.

A release is a version folder of the ensemble: `sentiment/2/` holds the manifest that names the version of every step,
and what pipeline.toml, its samples and the ensemble's configuration were when it was built. Where there are several,
each has an ensemble of its own beside it, `sentiment-v2/`, written from these.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch_steps.manifest import MANIFEST_NAME, SIGNATURE_NAME
from conch_tools.check.repository import PROFILES
from conch_tools.errors import RepositoryError, SettingsError, in_words
from conch_tools.files import write_json, write_whole
from conch_tools.pipelines import (
    PIPELINE_FILE,
    RELEASE_FILE,
    Pipeline,
    load_pipeline,
    load_pipelines,
    release_name,
    version_numbers,
)
from conch_tools.profiles import within_gate
from conch_tools.releases.configs import (
    allow_all_versions,
    pin,
    pinned_release,
    release_config,
    require_latest,
    require_no_policy,
    unpin,
)

CONFIG = "config.pbtxt"
LATEST = "latest"
ENSEMBLE_FILE = "ensemble.pbtxt"
"""Another name than Triton's, which would look odd in a version folder."""


@dataclass(frozen=True)
class Release:
    """One release that was built."""

    pipeline: str
    number: int
    folder: Path
    """The ensemble's version folder."""
    steps: Mapping[str, int]
    """The version of every step that belongs to it."""
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the ensemble that serves it under its number."""
        return release_name(self.pipeline, self.number)

    @property
    def bytes(self) -> int:
        """Of all its files; what releases share counts for each."""
        folders = [self.folder.parents[1] / step / str(version) for step, version in self.steps.items()]
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def releases_of(pipeline: Pipeline) -> list[Release]:
    """The releases that were built, oldest first. One of before there were releases is none."""
    folder = pipeline.folder.parent / pipeline.base
    found = [_release(pipeline.base, number, folder / str(number)) for number in version_numbers(folder)]
    return [release for release in found if release is not None]


def release_numbered(pipeline: Pipeline, number: int) -> Release:
    """One of them. Raises RepositoryError, naming those that there are."""
    releases = {each.number: each for each in releases_of(pipeline)}
    if number not in releases:
        there = ", ".join(map(str, releases)) or "none: `conch build` makes one"
        raise RepositoryError(f"`{pipeline.base}` has no release {number}, there is {there}")
    return releases[number]


def current_release(pipeline: Pipeline) -> Release | None:
    """The release that the repository has the pipeline served as: the pinned one, else the newest."""
    config = pipeline.folder.parent / pipeline.base / CONFIG
    pinned = pinned_release(config.read_text(encoding="utf-8"))
    releases = releases_of(pipeline)
    if pinned is not None:
        return release_numbered(pipeline, pinned)
    return releases[-1] if releases else None


def as_served(pipeline: Pipeline, profile: str | None) -> Pipeline:
    """The pipeline with the answers that it must give now: of one that is pinned those of its release, and of one that
    a profile serves a variant of as near as that must be."""
    return within_gate(_as_pinned(pipeline), profile)


def _as_pinned(pipeline: Pipeline) -> Pipeline:
    if pipeline.release_of is not None:
        return pipeline
    config = pipeline.folder / CONFIG
    # One without it is refused by the check, which says so better.
    pinned = pinned_release(config.read_text(encoding="utf-8")) if config.is_file() else None
    if pinned is None:
        return pipeline
    frozen = load_pipeline(pipeline.folder.parent / release_name(pipeline.name, pinned))
    return frozen.model_copy(update={"name": pipeline.name, "release_of": None})


def pipelines_named(repository: Path, names: Sequence[str], profile: str | None = None) -> list[Pipeline]:
    """These pipelines and releases, with those that they use, and the answers that they must give now; none for no
    name."""
    return [as_served(each, profile) for each in load_pipelines(repository, names)] if names else []


@contextmanager
def pinned_in_files(repository: Path, names: Sequence[str], version: str | None) -> Iterator[None]:
    """Have the pipelines served as one release, or with "latest" as their newest, from the block on; as before when it
    fails, and for no version. Raises RepositoryError for a release that is not there, or a file that cannot be written.
    """
    files = {name: [] if version is None else _configs_of(repository / name) for name in names}
    before = {}
    try:
        for name, file in ((name, file) for name, configs in files.items() for file in configs):
            before[file] = file.read_text(encoding="utf-8")
            if version == LATEST:
                unpin(file)
            else:
                release = release_numbered(load_pipeline(repository / name), _number(version))
                pin(file, release.number, release.steps)
        yield
    except BaseException as problem:
        for file, text in before.items():
            if file.read_text(encoding="utf-8") != text:
                write_whole(file, text)
        if isinstance(problem, OSError):
            raise RepositoryError(f"the release cannot be pinned: {in_words(problem)}") from problem
        raise


def freeze(pipeline: Pipeline, version: Path, config: str) -> None:
    """Keep in a release's folder what it is to be asked and how its steps are wired, whatever changes later."""
    shutil.copyfile(pipeline.folder / PIPELINE_FILE, version / RELEASE_FILE)
    (version / ENSEMBLE_FILE).write_text(config, encoding="utf-8")
    for name in _sample_files(pipeline):
        target = version / name
        if (pipeline.folder / name).is_file() and target.resolve().is_relative_to(version.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pipeline.folder / name, target)


def require_room(pipeline: Pipeline) -> None:
    """Raise RepositoryError unless the configurations allow several releases beside each other, or say nothing of
    versions."""
    require_latest(pipeline.folder / CONFIG)
    for model in pipeline.models:
        for config in _configs_of(pipeline.folder.parent / model):
            require_no_policy(config)


def serve_side_by_side(pipeline: Pipeline) -> list[str]:
    """Give every release of a pipeline that has several an ensemble of its own, and have its steps load all versions;
    the names of the ensembles. Of a pipeline with one release nothing is changed."""
    releases = releases_of(pipeline)
    if len(releases) < 2:
        return []
    repository = pipeline.folder.parent
    for model in pipeline.models:
        if len(version_numbers(repository / model)) > 1:
            for config in _configs_of(repository / model):
                allow_all_versions(config)
    for release in releases:
        _write_ensemble(release, repository / release.name)
    return [release.name for release in releases]


def _configs_of(model: Path) -> list[Path]:
    """A model's configuration, and those that profiles have in its place."""
    return [model / CONFIG, *sorted((model / PROFILES).glob("*.pbtxt"))]


def _write_ensemble(release: Release, folder: Path) -> None:
    """What is there of it is replaced; release.toml, which makes it one, comes last."""
    version = folder / str(release.number)
    version.mkdir(parents=True, exist_ok=True)
    for path in release.folder.rglob("*"):
        name = path.relative_to(release.folder)
        if path.is_file() and name.name not in (MANIFEST_NAME, SIGNATURE_NAME, ENSEMBLE_FILE, RELEASE_FILE):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    said = f"# Release {release.number} of `{release.pipeline}`, under its number. Written by conch build.\n"
    write_whole(folder / CONFIG, said + release_config(release.folder / ENSEMBLE_FILE, release.name, release.steps))
    # No version folder is empty, because some stores of files keep no empty folders.
    write_json(version / MANIFEST_NAME, {"pipeline": release.pipeline, "version": release.number, "files": {}})
    write_whole(folder / RELEASE_FILE, (release.folder / RELEASE_FILE).read_text(encoding="utf-8"))


def sha256_of_text(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _number(version: str | None) -> int:
    if version is None or not version.isdecimal():
        raise SettingsError(f"a version is a release's number or `{LATEST}`, not {version!r}")
    return int(version)


def _release(pipeline: str, number: int, folder: Path) -> Release | None:
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
        steps = {str(step): int(each["version"]) for step, each in manifest["steps"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Release(pipeline, number, folder, steps, manifest)


def _sample_files(pipeline: Pipeline) -> list[str]:
    return [str(sample.input["image"]) for sample in pipeline.samples if "image" in sample.input]
