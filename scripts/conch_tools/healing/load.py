"""`conch load`: bring what was changed in the repository into the running server, proven before and after.

Triton takes whatever it can load: a step with other tensors answers 200 and its ensemble is gone, a model with swapped
labels answers wrongly from then on. So a load is judged by `conch check`, then tried in a server of its own, which must
answer the golden requests of every pipeline that needs the models, and only then done, with the very configurations
that Triton completed there: told to load a model from its folder, it may pass over it as unmodified. The running server
keeps serving what it has until Triton swaps the new one in; no request fails by that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from conch_client import Client
from conch_tools.errors import ConchError, SettingsError, WrongAnswers
from conch_tools.healing.control import Control, ControlFailed, Refused
from conch_tools.healing.golden import Symptom, ask_golden
from conch_tools.healing.loads import note_load
from conch_tools.healing.plan import Plan, plan
from conch_tools.healing.repair import Config, Configs, Repairs, is_ensemble, stamped, unstamped
from conch_tools.locks import Locked, only_one
from conch_tools.pipelines import Pipeline, load_pipelines, models_of, release_name
from conch_tools.ready import served_health
from conch_tools.releases.folders import pinned_in_files
from conch_tools.releases.signatures import require_signed
from conch_tools.releases.switch import pinned, pinned_as_loaded, restamped, with_versions
from conch_tools.serve import Report, needs_auto_complete, require_sound
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.own import own_settings
from conch_tools.server.record import ServerRecord, key_path, load_lock_path, loading_lock_path
from conch_tools.settings import Settings
from conch_tools.verify import require_as_built

LOCK_WAIT_S = 120.0
"""For another load, which starts a server of its own."""


class AnotherLoad(ConchError):
    """Another `conch load` is under way for the same server."""


def load(settings: Settings, names: Sequence[str], report: Report, version: str | None = None) -> None:
    """Load models, or all models of pipelines, as they are in the repository now; with `version` the pipeline is pinned
    to that release in the repository, or with "latest" to none, before.

    Raises NotRunning without a server of this checkout, SettingsError for a name that it does not serve,
    RepositoryError with what `conch check` finds, ServerFailed with what Triton says of the trial, ControlFailed with
    what it says afterwards, WrongAnswers when a pipeline would not, or did not, answer its golden requests, AnotherLoad
    when one is under way for too long. What was loaded until then is loaded as it was configured before; `report` is
    told what cannot be taken back.
    """
    record = ServerRecord.require(settings)
    settings = settings.model_copy(update={"repository": Path(record.repository), "profile": record.profile})
    control = Control(record.http, key_path(settings).read_text(encoding="utf-8"))
    with (
        only_load(settings, report),
        _told_what_stays(report, pinned=version is not None),
        pinned_in_files(settings.repository, names, version),
    ):
        before: dict[str, Config] = {model: control.config(model) for model in control.ready_models()}
        health = served_health(record, settings.answer_timeout_s)
        evicted = [name for name, each in health.items() if each["evicted"]]
        in_memory = [name for name in health if name not in evicted]
        what = plan(settings.repository, names, in_memory, before, settings.profile)
        require_sound(settings, what.repository_models)
        require_signed(settings, what.affected)
        require_as_built(settings.repository, what.models)
        proven = {} if version is None else _beside(what, before, health)
        if not proven:
            report(f"trying {', '.join(what.models)} in a server of its own")
            proven = _tried(settings, what)
        with (
            only_one(loading_lock_path(settings), LOCK_WAIT_S, lambda: None),
            _taken_back_on_failure(control, before, settings.start_timeout_s, report) as loaded,
        ):
            _load_all(control, proven, before, loaded, settings.start_timeout_s)
            for ensemble in what.over:
                if not control.is_ready(ensemble):
                    raise WrongAnswers(
                        f"with the new {', '.join(what.models)} Triton unloads the ensemble `{ensemble}`"
                    )
            _require_golden(record.grpc, what.affected, settings.answer_timeout_s)
            note_load(settings, list(dict.fromkeys([*what.served, *evicted])))
    answering = ", ".join(each.name for each in what.affected)
    report(f"loaded {', '.join(proven)}" + (f"; {answering} answer as they must" if answering else ""))
    for name, (number, _) in what.releases.items():
        report(f"{name} is release {number}")


@contextmanager
def only_load(settings: Settings, report: Report) -> Iterator[None]:
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


@contextmanager
def _told_what_stays(report: Report, pinned: bool) -> Iterator[None]:
    """Say what a refused load leaves behind, which its reason does not tell. Files that were pinned are as before, and
    a name that is not served has changed none."""
    try:
        yield
    except SettingsError:
        raise
    except ConchError:
        stays = (
            ""
            if pinned
            else ", but the repository keeps the changed files. The next start, and a step whose process "
            "dies, would take them: mend them and load again, or put the old ones back"
        )
        report(f"not loaded: the server serves what it served before, unless a line above says otherwise{stays}")
        raise


def _beside(what: Plan, before: Configs, health: Mapping[str, Mapping[str, Any]]) -> dict[str, Config]:
    """The ensembles to switch where their releases are served under their numbers already, and are well: nothing else
    needs to be loaded, or tried. None where that does not hold for all."""
    found: dict[str, Config] = {}
    for name, (number, steps) in what.releases.items():
        release = release_name(name, number)
        if release not in before or not health.get(release, {}).get("well"):
            return {}
        found[name] = pinned({**before[release], "name": name}, number, steps)
    return found


def _tried(settings: Settings, what: Plan) -> dict[str, Config]:
    """Serve the models apart, with the ensembles over them and the pipelines that need them; the models' configurations
    as Triton completed them, with the versions that it loaded. Raises what `load` raises for what is wrong."""
    # With those that they use.
    names = [each.name for each in what.affected]
    wanted = load_pipelines(settings.repository, names) if names else []
    with own_settings(settings, "load") as trial:
        tried = list(dict.fromkeys([*models_of(wanted), *what.models, *what.over]))
        options = ServerOptions(trial, models=tried, auto_complete=needs_auto_complete(settings))
        with EmbeddedServer(options) as server:
            _require_golden(server.grpc_url, what.affected, settings.answer_timeout_s)
            control = Control(server.http_url, server.admin_key)
            return {model: _proven(control, model, what) for model in what.models}


def _proven(control: Control, model: str, what: Plan) -> Config:
    config = control.config(model)
    if model in what.releases:
        return pinned(config, *what.releases[model])
    if model in what.served:
        return pinned_as_loaded(control, model, config)
    versions = control.ready_versions(model)
    return with_versions(config, versions) if len(versions) > 1 else config


def _load_all(control: Control, proven: Configs, before: Configs, loaded: list[str], timeout_s: float) -> None:
    """Load what the trial has proven, and nothing that was written since; `loaded` is told what may have changed."""
    for model, config in proven.items():
        loaded.append(model)
        try:
            control.load(model, restamped(config, before.get(model)), timeout_s)
        except Refused:
            loaded.pop()
            raise
    for model, config in proven.items():
        if not _same(control.config(model), config):
            raise ControlFailed(f"model `{model}` was loaded, but its configuration is not the one that was tried")


def _same(one: Config, other: Config) -> bool:
    """Whether two configurations say the same. Whole numbers of 64 bits may come as text."""
    first: object = json.loads(json.dumps(unstamped(one)), parse_int=str)
    second: object = json.loads(json.dumps(unstamped(other)), parse_int=str)
    return first == second


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
        for model in reversed(loaded):
            # An ensemble over versions that are about to go takes other ones first, where it can.
            if is_ensemble(before.get(model, {})):
                with suppress(ControlFailed):
                    control.load(model, stamped(before[model]), timeout_s)
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
