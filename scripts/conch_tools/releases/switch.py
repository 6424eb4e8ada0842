"""One release for another in a running server, without a request that is answered by both.

An ensemble that asks for the latest version of its steps would take the new ones as they come, one by one. So it is
held from the start: loaded with the numbers that it uses then, which changes no answer. Then versions come and go
beside it, and loading it once more with the numbers of another release is one step for Triton: a request is answered by
the ensemble that it met, from its first step to its last. It is held before files change, because Triton brings an
ensemble's steps along when it loads it, from files that are new.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from conch_tools.healing.control import UNLOADING, Control, ControlFailed
from conch_tools.healing.repair import STAMP, Config, is_ensemble, stamped, steps_of, unstamped

LATEST = -1
POLL_S = 0.05


def hold(control: Control, ensembles: Collection[str], timeout_s: float) -> None:
    """Pin loaded ensembles to the versions that they use now. Raises ControlFailed."""
    for ensemble in ensembles:
        config = control.config(ensemble)
        held = pinned_as_loaded(control, ensemble, config)
        if held != config:
            control.load(ensemble, stamped(held), timeout_s)


def pinned_as_loaded(control: Control, ensemble: str, config: Config) -> Config:
    """An ensemble's configuration with the numbers of what it uses, which it may name itself. Raises ControlFailed."""
    if LATEST not in {int(step["model_version"]) for step in _steps(config)}:
        return config
    newest = {step: max(control.ready_versions(step)) for step in steps_of(config)}
    return pinned(config, max(control.ready_versions(ensemble)), newest)


def pinned(config: Config, number: int, steps: Mapping[str, int]) -> Config:
    """An ensemble's configuration for one release: its own version says which, so answers do as well."""
    scheduling = dict(config["ensemble_scheduling"])
    scheduling["step"] = [
        {**step, "model_version": steps.get(step["model_name"], step["model_version"])} for step in _steps(config)
    ]
    return {**with_versions(config, [number]), "ensemble_scheduling": scheduling}


def with_versions(config: Config, versions: Sequence[int]) -> Config:
    """The configuration of a model of which these versions are served."""
    return {**config, "version_policy": {"specific": {"versions": list(versions)}}}


def wants(config: Config, model: str) -> set[int]:
    """The versions of a model that an ensemble names, LATEST among them."""
    return {int(step["model_version"]) for step in _steps(config) if step["model_name"] == model}


def restamped(config: Config, now: Config | None) -> dict[str, Any]:
    """The configuration as Triton loads it with the least work.

    Where only the versions that are served differ, those that stay are left alone: not even their processes are new.
    Otherwise everything is loaded anew, because files may have changed.
    """
    if now is None or is_ensemble(config):
        return stamped(config)
    same = {**unstamped(config), "version_policy": None} == {**unstamped(now), "version_policy": None}
    if not same or config.get("version_policy") == now.get("version_policy"):
        return stamped(config)
    stamp = {name: value for name, value in now.get("parameters", {}).items() if name == STAMP}
    return {**config, "parameters": {**config.get("parameters", {}), **stamp}}


def await_answered(control: Control, models: Collection[str], timeout_s: float) -> None:
    """Wait until nobody is answered any more by a version that was taken out. Raises ControlFailed when that takes
    longer."""
    deadline = time.monotonic() + timeout_s
    while busy := [model for model in models if UNLOADING in control.states(model).values()]:
        if time.monotonic() > deadline:
            raise ControlFailed(f"after {timeout_s:g} s requests to `{busy[0]}` are still not answered")
        time.sleep(POLL_S)


def _steps(config: Config) -> Sequence[Mapping[str, Any]]:
    """None of a model that is no ensemble."""
    steps: Sequence[Mapping[str, Any]] = config.get("ensemble_scheduling", {}).get("step", ())
    return steps
