"""`conch versions`: which releases of a pipeline were built, of what and how good, and which are served as what."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from conch_tools.errors import ConchError, NotRunning
from conch_tools.healing.control import Control
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.releases.configs import is_pinned
from conch_tools.releases.folders import CONFIG, Release, releases_of
from conch_tools.server.record import ServerRecord, key_path
from conch_tools.settings import Settings

VARIANTS = "variants"
"""In a release's quality: the figures of each, by name."""


def versions(settings: Settings, names: Sequence[str]) -> list[dict[str, Any]]:
    """One entry a release, oldest first. Raises RepositoryError for a pipeline that is not there."""
    serving = _Serving(settings)
    wanted = [each for each in load_pipelines(settings.repository, names) if not names or each.name in names]
    return [described for pipeline in wanted for described in _described(pipeline, serving)]


class _Serving:
    """What the running server serves; nothing where none runs."""

    def __init__(self, settings: Settings) -> None:
        self._control: Control | None = None
        with contextlib.suppress(NotRunning, OSError):
            record = ServerRecord.require(settings)
            self._control = Control(record.http, key_path(settings).read_text(encoding="utf-8"))

    def versions_of(self, model: str) -> list[int]:
        with contextlib.suppress(ConchError):
            return [] if self._control is None else self._control.ready_versions(model)
        return []


def _described(pipeline: Pipeline, serving: _Serving) -> list[dict[str, Any]]:
    releases, pinned = releases_of(pipeline), is_pinned(pipeline.folder / CONFIG)
    return [_of_one(pipeline, each, serving, pinned, latest=each is releases[-1]) for each in releases]


def _of_one(pipeline: Pipeline, release: Release, serving: _Serving, pinned: bool, latest: bool) -> dict[str, Any]:
    served = [name for name in (pipeline.name, release.name) if release.number in serving.versions_of(name)]
    return {
        "pipeline": pipeline.name,
        "version": release.number,
        "latest": latest,
        "pinned": pinned and pipeline.name in served,
        "served_as": served,
        "built": release.manifest.get("built"),
        "source": _source(release.manifest.get("source", {})),
        "quality": release.manifest.get("quality", {}),
        "bytes": release.bytes,
    }


def _source(source: Mapping[str, str]) -> str:
    """The origin, and what tells one of its versions from another."""
    return ", ".join(f"{name} {value[:12] if name == 'sha256' else value}" for name, value in source.items())


def in_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a release."""
    lines = []
    for each in found:
        measured = ((name, value) for name, value in each["quality"].items() if name != VARIANTS)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in measured)
        served = f"served as {', '.join(each['served_as'])}" if each["served_as"] else "not served"
        marks = [mark for mark in ("latest", "pinned") if each[mark]]
        variants = ", ".join(f"variant {name}" for name in each["quality"].get(VARIANTS, ()))
        parts = (
            f"built {each['built']}",
            each["source"],
            figures,
            variants,
            f"{each['bytes'] / 1e6:.1f} MB",
            served,
            *marks,
        )
        lines.append(f"{each['pipeline']} {each['version']}: {'; '.join(part for part in parts if part)}")
    return lines
