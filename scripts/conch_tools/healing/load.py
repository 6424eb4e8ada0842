"""`conch load`: bring what was changed in the repository into the running server, proven before and after.

Triton takes whatever it can load: a step with other tensors answers 200 and its ensemble is gone, a model with swapped
labels answers wrongly from then on. So a load is judged by `conch check`, then tried in a server of its own, which must
answer the golden requests of every pipeline that needs the models, and only then done. The running server keeps
serving what it has until Triton swaps the new one in; no request fails by that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conch_client import Client
from conch_tools.errors import SettingsError, WrongAnswers
from conch_tools.healing.control import Control
from conch_tools.healing.golden import Symptom, ask_golden
from conch_tools.healing.needs import Needs
from conch_tools.healing.repair import Configs, Repairs, ensembles_over
from conch_tools.pipelines import Pipeline, load_pipelines, models_of
from conch_tools.ready import served_health
from conch_tools.serve import needs_auto_complete, require_sound
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.ports import free_ports
from conch_tools.server.record import ServerRecord, key_path
from conch_tools.settings import Settings

Report = Callable[[str], None]


def load(settings: Settings, names: Sequence[str], report: Report) -> None:
    """Load models, or all models of pipelines, as they are in the repository now.

    Raises NotRunning without a server of this checkout, SettingsError for a name that it does not serve,
    RepositoryError with what `conch check` finds, ServerFailed with what Triton says of the trial, ControlFailed with
    what it says afterwards, WrongAnswers when a pipeline would not, or did not, answer its golden requests. In each
    case the server serves what it served before.
    """
    record = ServerRecord.require(settings)
    settings = settings.model_copy(update={"repository": Path(record.repository), "profile": record.profile})
    control = Control(record.http, key_path(settings).read_text(encoding="utf-8"))
    before = {model: control.config(model) for model in control.ready_models()}
    with_health = list(served_health(record, settings.answer_timeout_s))
    served = load_pipelines(settings.repository, with_health) if with_health else []
    needs = Needs(served)
    models = _models_named(names, served, before)
    affected = [each for each in served if any(each in needs.needing(model) for model in models)]
    require_sound(settings, [*models, *models_of(affected)])
    report(f"trying {', '.join(models)} in a server of its own")
    _try(settings, models, affected)
    with _restored_on_failure(control, before, models, settings.start_timeout_s):
        for model in models:
            control.load(model, None, settings.start_timeout_s)
        for ensemble in [name for model in models for name in ensembles_over(model, before)]:
            if not control.is_ready(ensemble):
                raise WrongAnswers(f"with the new {', '.join(models)} Triton unloads the ensemble `{ensemble}`")
        _require_golden(record.grpc, affected, settings.answer_timeout_s)
    answering = ", ".join(each.name for each in affected)
    report(f"loaded {', '.join(models)}" + (f"; {answering} answer as they must" if answering else ""))


def _models_named(names: Sequence[str], served: Sequence[Pipeline], loaded: Configs) -> list[str]:
    """The models to load, steps before the ensembles over them."""
    pipelines = {each.name: each for each in served}
    named: list[str] = []
    for name in names:
        if name not in loaded and name not in pipelines:
            raise SettingsError(f"the server does not serve `{name}`: start it again with what is new")
        named += [*pipelines[name].models, name] if name in pipelines else [name]
    return sorted(dict.fromkeys(named), key=lambda name: "ensemble_scheduling" in loaded.get(name, {}))


def _try(settings: Settings, models: Sequence[str], affected: Sequence[Pipeline]) -> None:
    """Serve the models, and the pipelines that need them, apart. Raises what `load` raises for what is wrong."""
    http, grpc, metrics = free_ports(3)
    own = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "response_cache_bytes": 0}
    # With those that they use.
    wanted = load_pipelines(settings.repository, [each.name for each in affected]) if affected else []
    # What changes at run time must not be changed by a trial.
    with tempfile.TemporaryDirectory(prefix="conch-load-") as state:
        trial = settings.model_copy(update={**own, "state": Path(state)})
        tried = list(dict.fromkeys([*models_of(wanted), *models]))
        options = ServerOptions(trial, models=tried, auto_complete=needs_auto_complete(settings))
        with EmbeddedServer(options) as server:
            _require_golden(server.grpc_url, affected, settings.answer_timeout_s)


def _require_golden(address: str, pipelines: Sequence[Pipeline], timeout_s: float) -> None:
    with Client(address, timeout_s=timeout_s) as client:
        for pipeline in pipelines:
            outcome = ask_golden(client, pipeline, timeout_s)
            if outcome.symptom is not Symptom.WELL:
                raise WrongAnswers(f"pipeline `{pipeline.name}` does not answer as it must: {outcome.problem}")


@contextmanager
def _restored_on_failure(control: Control, before: Configs, models: Sequence[str], timeout_s: float) -> Iterator[None]:
    """Load the models with the configurations that they had when the block fails.

    Their files are read from the repository, where the trial found them sound: older ones are not kept.
    """
    try:
        yield
    except BaseException:
        repairs = Repairs(control, before, timeout_s)
        for model in models:
            if model in before:
                repairs.repair(model)
            else:
                control.unload(model, timeout_s)
        raise
