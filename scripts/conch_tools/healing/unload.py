"""`conch unload`: take a pipeline, or one release of it, out of the running server, without a request that fails.

Nothing new is sent to an ensemble that is unloaded; its steps go when the last request to it is answered, and only
those that no other ensemble names. The files stay: a server that is started anew serves them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from conch_tools.errors import SettingsError
from conch_tools.healing.control import Control
from conch_tools.healing.load import LOCK_WAIT_S, only_load
from conch_tools.healing.loads import note_load
from conch_tools.healing.repair import Config, is_ensemble, steps_of
from conch_tools.locks import only_one
from conch_tools.pipelines import release_name
from conch_tools.ready import served_health
from conch_tools.releases.folders import pipelines_named
from conch_tools.releases.switch import await_answered, restamped, wants, with_versions
from conch_tools.serve import Report
from conch_tools.server.record import ServerRecord, key_path, loading_lock_path
from conch_tools.settings import Settings


def unload(settings: Settings, name: str, number: int | None, report: Report) -> None:
    """Unload a pipeline with all its releases, or the release of this number.

    Raises NotRunning without a server of this checkout, SettingsError for what it does not serve, what others need and
    the release that the pipeline itself is served as, ControlFailed with what Triton says, AnotherLoad when a load is
    under way for too long.
    """
    record = ServerRecord.require(settings)
    control = Control(record.http, key_path(settings).read_text(encoding="utf-8"))
    with only_load(settings, report), only_one(loading_lock_path(settings), LOCK_WAIT_S, lambda: None):
        served = list(served_health(record, settings.answer_timeout_s))
        going = _going(Path(record.repository), served, name, number)
        loaded: dict[str, Config] = {model: control.config(model) for model in control.ready_models()}
        if number is not None and set(control.ready_versions(name)) == {number}:
            raise SettingsError(f"`{name}` is release {number} now: `conch load {name} --version` another one first")
        # Told before, so that nobody takes for a fault what is wanted.
        note_load(settings, [each for each in served if each not in going])
        take_out(control, going, loaded, settings.start_timeout_s)
    report(f"unloaded {', '.join(going)}")


def take_out(control: Control, ensembles: Sequence[str], loaded: Mapping[str, Config], timeout_s: float) -> None:
    """Unload ensembles, and of their steps what no other ensemble names. Raises ControlFailed."""
    there = [each for each in ensembles if each in loaded]
    for ensemble in there:
        control.unload(ensemble, timeout_s)
    await_answered(control, there, timeout_s)
    rest = [config for model, config in loaded.items() if model not in there and is_ensemble(config)]
    for step in dict.fromkeys(step for each in there for step in steps_of(loaded[each])):
        named = set[int]().union(*(wants(config, step) for config in rest))
        if not named:
            control.unload(step, timeout_s)
        elif named < set(control.ready_versions(step)):
            now = control.config(step)
            control.load(step, restamped(with_versions(now, sorted(named)), now), timeout_s)


def _going(repository: Path, served: Sequence[str], name: str, number: int | None) -> list[str]:
    pipelines = pipelines_named(repository, list(served))
    wanted = name if number is None else release_name(name, number)
    if wanted not in served:
        raise SettingsError(f"the server does not serve `{wanted}`, but {', '.join(served) or 'no pipeline'}")
    going = [wanted] if number is not None else [each.name for each in pipelines if each.base == name]
    for each in pipelines:
        if number is None and name in each.uses and each.name not in going:
            raise SettingsError(f"`{each.name}` needs `{name}`: unload `{each.name}` first")
    return going
