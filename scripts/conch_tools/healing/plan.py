"""What a load is about: which models, over which ensembles, and which pipelines must answer afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conch_tools.errors import SettingsError
from conch_tools.healing.needs import Needs
from conch_tools.healing.repair import Configs, ensembles_over, is_ensemble
from conch_tools.pipelines import (
    Pipeline,
    models_of,
    owner_of,
    pipeline_folders,
    release_folders,
    releases_served_of,
)
from conch_tools.releases.folders import current_release, pipelines_named


@dataclass(frozen=True)
class Plan:
    """Of one load."""

    models: Sequence[str]
    """To be loaded: steps, then the ensembles of single releases, then other ensembles."""
    over: Sequence[str]
    """Loaded ensembles over these models."""
    affected: Sequence[Pipeline]
    """The pipelines and releases that need any of them."""
    served: Sequence[str]
    """The names of all pipelines and releases that are served when it is done."""
    releases: Mapping[str, tuple[int, Mapping[str, int]]]
    """Of the pipelines among the models that have several releases: the one to switch to, with its steps' versions."""

    @property
    def repository_models(self) -> list[str]:
        """All that has to be sound."""
        return list(dict.fromkeys([*self.models, *models_of(self.affected), *self.over]))


def plan(
    repository: Path, names: Sequence[str], with_health: Sequence[str], loaded: Configs, profile: str | None = None
) -> Plan:
    """What to do for these models or pipelines. Raises SettingsError for a name that is neither in the server nor a
    pipeline of the repository."""
    numbered = release_folders(repository)
    there = {**pipeline_folders(repository), **numbered}
    # A step alone would not be switched to.
    names = [
        owner if (owner := owner_of(name, there)) and releases_served_of(owner, numbered) else name for name in names
    ]
    named = [name for name in names if name in there]
    for name in names:
        if name not in there and name not in loaded:
            raise SettingsError(f"the server does not serve `{name}`: start it again with what is new")
    beside = {name: releases_served_of(name, numbered) for name in named}
    # What lies no more in the repository cannot be asked as it says there.
    kept = [name for name in with_health if name in there]
    served = pipelines_named(
        repository, list(dict.fromkeys([*kept, *named, *(each for name in named for each in beside[name])])), profile
    )
    pipelines = {each.name: each for each in served}
    wanted: list[str] = []
    for name in names:
        wanted += [*pipelines[name].models, *beside[name], name] if name in named else [name]
    models = sorted(dict.fromkeys(wanted), key=lambda name: _rank(name, pipelines, loaded))
    needs = Needs(served)
    releases = {}
    for name in named:
        release = current_release(pipelines[name])
        if release is not None and beside[name]:
            releases[name] = (release.number, release.steps)
    return Plan(
        models,
        list(dict.fromkeys(name for model in models for name in ensembles_over(model, loaded))),
        [each for each in served if any(each in needs.needing(model) for model in models)],
        [each.name for each in served],
        releases,
    )


def _rank(model: str, pipelines: Mapping[str, Pipeline], loaded: Configs) -> int:
    """Steps come before the ensembles over them."""
    if model in pipelines:
        return 1 if pipelines[model].release_of else 2
    return 2 if is_ensemble(loaded.get(model, {})) else 0
