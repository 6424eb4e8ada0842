"""What may die in a server: a process of every kind of step that the repository uses, found by reading it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from conch_client import Client, ConchError
from conch_tools.bench.callers import Ask
from conch_tools.check.repository import Model, Repository, load_repository
from conch_tools.check.served import is_ours
from conch_tools.errors import SettingsError
from conch_tools.healing.diagnosis import smallest_request
from conch_tools.healing.golden import Symptom, symptom_of
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.settings import Settings


@dataclass(frozen=True)
class Victim:
    """A step that is to die, and the pipeline that is served for it."""

    backend: str
    """Its kind."""
    model: str
    pipeline: Pipeline
    on_the_way: bool
    """Whether a request to the pipeline passes it."""

    def ask(self) -> Ask:
        """A request that needs the step: the pipeline's first sample, or the smallest that the step itself takes."""
        return ask_pipeline(self.pipeline) if self.on_the_way else ask_model(self.model)


def victims(settings: Settings, only: str | None = None) -> list[Victim]:
    """One step of every kind, the first by name; or of the kind, or the model, that `only` names.

    Raises SettingsError, naming those that there are, when there is no such step.
    """
    repository = load_repository(settings.repository, settings.backends, hashed=False)
    pipelines = {each.name: each for each in load_pipelines(settings.repository)}
    steps = [
        Victim(model.backend.name, model.name, pipelines[model.pipeline], _is_on_the_way(model, repository))
        for model in repository.models.values()
        if model.pipeline in pipelines and is_ours(model)
    ]
    kinds = {step.backend: step for step in sorted(steps, key=lambda step: step.model, reverse=True)}
    if only is None:
        return sorted(kinds.values(), key=lambda step: step.model)
    chosen = [step for step in steps if step.model == only]
    if not chosen and only in kinds:
        chosen = [kinds[only]]
    if not chosen:
        raise SettingsError(f"there is no step `{only}`; kinds of steps are: {', '.join(sorted(kinds))}")
    return chosen


def ask_pipeline(pipeline: Pipeline) -> Ask:
    """The pipeline's first sample."""
    inputs = pipeline.sample_inputs(pipeline.samples[0])
    return lambda client: client.infer(pipeline.name, inputs=inputs)


def ask_model(model: str) -> Ask:
    """The smallest request that the model takes. Even a refusal is an answer: a living process gave it."""

    def ask(client: Client) -> None:
        try:
            client.infer(model, inputs=smallest_request(client.metadata(model)))
        except ConchError as problem:
            if symptom_of(problem) is not Symptom.FAILING:
                raise

    return ask


def tritonserver_of(supervisor: int) -> psutil.Process | None:
    """The server that a process holds; None when it has none just now."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(supervisor).children():
            if child.name() == "tritonserver" and child.status() != psutil.STATUS_ZOMBIE:
                return child
    return None


def processes_of(server: psutil.Process, model: str) -> Sequence[psutil.Process]:
    """The living processes of a model, oldest first."""
    found = []
    for process in server.children():
        with contextlib.suppress(psutil.Error):
            if any(f"/{model}/" in word for word in process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: float(process.create_time()))


def _is_on_the_way(step: Model, repository: Repository) -> bool:
    """Whether the pipeline's ensemble names the step."""
    ensemble = repository.models.get(step.pipeline or "")
    return ensemble is not None and any(
        each.model_name == step.name for each in ensemble.config.ensemble_scheduling.step
    )
