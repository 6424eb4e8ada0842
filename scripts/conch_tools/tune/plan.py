"""What of a pipeline can be tuned, from the configurations it is served with now.

A pipeline's own steps are tuned. A model that it calls of another pipeline belongs to that one, and its settings would
be changed behind the other's back: it is left as it is, and tuned under its own name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.check.pbtxt import read_config
from conch_tools.check.repository import config_file_of
from conch_tools.pipelines import Pipeline, load_pipelines, models_of
from conch_tools.serve import require_repository, require_sound
from conch_tools.settings import Settings
from conch_tools.tune.configs import settings_of, with_settings
from conch_tools.tune.errors import NothingToTune
from conch_tools.tune.space import Candidate, StepSettings


@dataclass(frozen=True)
class Plan:
    """A pipeline, its configurations, and the candidate that they are now."""

    pipeline: Pipeline
    base: Mapping[str, ModelConfig]
    """Of the ensemble and of every step, as served now."""
    current: Candidate
    models: tuple[str, ...]
    """What a server loads for it, models of other pipelines that it uses among them."""
    neighbours: tuple[StepSettings, ...] = ()
    """Those steps of other pipelines: looked at, never changed."""

    def configs(self, candidate: Candidate) -> dict[str, ModelConfig]:
        """The configuration of every model under a candidate."""
        now = {step.model: step for step in self.current.steps}
        wanted = {step.model: step for step in candidate.steps}
        found = {}
        for model, config in self.base.items():
            found[model] = with_settings(config, now[model], wanted[model]) if model in now else _copy(config)
            if candidate.max_batch != self.current.max_batch:
                found[model].max_batch_size = max(config.max_batch_size, candidate.max_batch)
        return found


def load_plan(settings: Settings, name: str, profile: str | None) -> Plan:
    """The plan for a pipeline as it is served with a profile, or without one.

    Raises RepositoryError for a pipeline that is not there or cannot be served, SettingsError for a profile that no
    model has, NothingToTune for a pipeline without steps of its own.
    """
    settings = settings.model_copy(update={"profile": profile})
    require_repository(settings)
    pipelines = load_pipelines(settings.repository, [name])
    models = models_of(pipelines)
    require_sound(settings, models)
    pipeline = next(each for each in pipelines if each.name == name)
    base = {model: _served(settings.repository / model, profile) for model in (name, *pipeline.models)}
    cores = len(os.sched_getaffinity(0))
    steps = _settable(base.values(), cores)
    others = [each for each in pipelines if each.name != name]
    lent = [_served(settings.repository / model, profile) for each in others for model in each.models]
    if not steps:
        raise NothingToTune(f"`{name}` has no step of its own with one instance group: nothing can be tuned")
    return Plan(pipeline, base, Candidate(steps, base[name].max_batch_size), tuple(models), _settable(lent, cores))


def _served(folder: Path, profile: str | None) -> ModelConfig:
    """A model's configuration, with its name. Raises RepositoryError."""
    config = read_config(config_file_of(folder, profile))
    config.name = config.name or folder.name
    return config


def _settable(configs: Iterable[ModelConfig], cores: int) -> tuple[StepSettings, ...]:
    found = (settings_of(config, cores) for config in configs)
    return tuple(step for step in found if step is not None)


def _copy(config: ModelConfig) -> ModelConfig:
    copy: ModelConfig = ModelConfig()
    copy.CopyFrom(config)
    return copy
