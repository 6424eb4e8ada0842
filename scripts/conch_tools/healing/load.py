"""`conch load`: bring what was changed in the repository into the running server, proven before and after.

Triton takes whatever it can load: a step with other tensors answers 200 and its ensemble is gone, a model with swapped
labels answers wrongly from then on. So a load is judged by `conch check`, then tried in a server of its own, which must
answer the golden requests of every pipeline that needs the models, and only then done, with the very configurations
that Triton completed there: told to load a model from its folder, it may pass over it as unmodified. The running server
keeps serving what it has until Triton swaps the new one in; no request fails by that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conch_client import Client
from conch_tools.errors import ConchError, SettingsError, WrongAnswers
from conch_tools.healing.control import Control, ControlFailed, Refused
from conch_tools.healing.golden import Symptom, ask_golden
from conch_tools.healing.loads import note_load
from conch_tools.healing.needs import Needs
from conch_tools.healing.repair import Config, Configs, Repairs, ensembles_over, stamped, unstamped
from conch_tools.locks import Locked, only_one
from conch_tools.pipelines import Pipeline, load_pipelines, models_of
from conch_tools.ready import served_health
from conch_tools.serve import Report, needs_auto_complete, require_sound
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.own import own_settings
from conch_tools.server.record import ServerRecord, key_path, load_lock_path, loading_lock_path
from conch_tools.settings import Settings

LOCK_WAIT_S = 120.0
"""For another load, which starts a server of its own."""


class AnotherLoad(ConchError):
    """Another `conch load` is under way for the same server."""


def load(settings: Settings, names: Sequence[str], report: Report) -> None:
    """Load models, or all models of pipelines, as they are in the repository now.

    Raises NotRunning without a server of this checkout, SettingsError for a name that it does not serve,
    RepositoryError with what `conch check` finds, ServerFailed with what Triton says of the trial, ControlFailed with
    what it says afterwards, WrongAnswers when a pipeline would not, or did not, answer its golden requests, AnotherLoad
    when one is under way for too long. What was loaded until then is loaded as it was configured before; `report` is
    told what cannot be taken back.
    """
    record = ServerRecord.require(settings)
    settings = settings.model_copy(update={"repository": Path(record.repository), "profile": record.profile})
    control = Control(record.http, key_path(settings).read_text(encoding="utf-8"))
    with _only_load(settings, report):
        before = {model: control.config(model) for model in control.ready_models()}
        with_health = list(served_health(record, settings.answer_timeout_s))
        served = load_pipelines(settings.repository, with_health) if with_health else []
        needs = Needs(served)
        models = _models_named(names, served, before)
        affected = [each for each in served if any(each in needs.needing(model) for model in models)]
        over = [name for model in models for name in ensembles_over(model, before)]
        require_sound(settings, [*models, *models_of(affected), *over])
        report(f"trying {', '.join(models)} in a server of its own")
        proven = _tried(settings, models, over, affected)
        with (
            only_one(loading_lock_path(settings), LOCK_WAIT_S, lambda: None),
            _taken_back_on_failure(control, before, settings.start_timeout_s, report) as loaded,
        ):
            _load_all(control, proven, loaded, settings.start_timeout_s)
            for ensemble in over:
                if not control.is_ready(ensemble):
                    raise WrongAnswers(f"with the new {', '.join(models)} Triton unloads the ensemble `{ensemble}`")
            _require_golden(record.grpc, affected, settings.answer_timeout_s)
            note_load(settings)
    answering = ", ".join(each.name for each in affected)
    report(f"loaded {', '.join(models)}" + (f"; {answering} answer as they must" if answering else ""))


@contextmanager
def _only_load(settings: Settings, report: Report) -> Iterator[None]:
    """Raises AnotherLoad when another one takes longer than LOCK_WAIT_S."""

    def waiting() -> None:
        report(f"another load into this server is under way: waiting, at most {LOCK_WAIT_S:.0f} s")

    try:
        with only_one(load_lock_path(settings), LOCK_WAIT_S, waiting):
            yield
    except Locked as other:
        raise AnotherLoad(
            f"another load into this server ({other}) is still under way: wait for it, or stop it"
        ) from other


def _models_named(names: Sequence[str], served: Sequence[Pipeline], loaded: Configs) -> list[str]:
    """The models to load, steps before the ensembles over them."""
    pipelines = {each.name: each for each in served}
    named: list[str] = []
    for name in names:
        if name not in loaded and name not in pipelines:
            raise SettingsError(f"the server does not serve `{name}`: start it again with what is new")
        named += [*pipelines[name].models, name] if name in pipelines else [name]
    return sorted(dict.fromkeys(named), key=lambda name: "ensemble_scheduling" in loaded.get(name, {}))


def _tried(
    settings: Settings, models: Sequence[str], over: Sequence[str], affected: Sequence[Pipeline]
) -> dict[str, Config]:
    """Serve the models apart, with the ensembles over them and the pipelines that need them; the models' configurations
    as Triton completed them. Raises what `load` raises for what is wrong."""
    # With those that they use.
    wanted = load_pipelines(settings.repository, [each.name for each in affected]) if affected else []
    with own_settings(settings, "load") as trial:
        tried = list(dict.fromkeys([*models_of(wanted), *models, *over]))
        options = ServerOptions(trial, models=tried, auto_complete=needs_auto_complete(settings))
        with EmbeddedServer(options) as server:
            _require_golden(server.grpc_url, affected, settings.answer_timeout_s)
            control = Control(server.http_url, server.admin_key)
            return {model: control.config(model) for model in models}


def _load_all(control: Control, proven: Configs, loaded: list[str], timeout_s: float) -> None:
    """Load what the trial has proven, and nothing that was written since; `loaded` is told what may have changed."""
    for model, config in proven.items():
        loaded.append(model)
        try:
            control.load(model, stamped(config), timeout_s)
        except Refused:
            loaded.pop()
            raise
    for model, config in proven.items():
        if unstamped(control.config(model)) != unstamped(config):
            raise ControlFailed(f"model `{model}` was loaded, but its configuration is not the one that was tried")


def _require_golden(address: str, pipelines: Sequence[Pipeline], timeout_s: float) -> None:
    with Client(address, timeout_s=timeout_s) as client:
        for pipeline in pipelines:
            outcome = ask_golden(client, pipeline, timeout_s)
            if outcome.symptom is not Symptom.WELL:
                raise WrongAnswers(f"pipeline `{pipeline.name}` does not answer as it must: {outcome.problem}")


@contextmanager
def _taken_back_on_failure(control: Control, before: Configs, timeout_s: float, report: Report) -> Iterator[list[str]]:
    """Load the models in the list that it gives with the configurations that they had before, when the block fails.

    Their files are read from the repository, where the trial found them sound: older ones are not kept. What cannot be
    taken back is reported, and the block's own error raised.
    """
    loaded: list[str] = []
    try:
        yield loaded
    except BaseException:
        problems: dict[str, str] = {}
        # Twice, because an ensemble cannot be loaded before all of its steps are as they were.
        for models in (loaded, problems):
            for model in list(models):
                try:
                    _take_back(control, before, model, timeout_s)
                    problems.pop(model, None)
                except ControlFailed as problem:
                    problems[model] = str(problem)
        for model, said in problems.items():
            report(f"model `{model}` cannot be taken back: {said}")
        raise


def _take_back(control: Control, before: Configs, model: str, timeout_s: float) -> None:
    if model in before:
        Repairs(control, before, timeout_s).repair(model)
    else:
        control.unload(model, timeout_s)
