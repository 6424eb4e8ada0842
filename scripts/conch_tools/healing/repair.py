"""Bring one model back: end what is left of its processes, load it anew, and see that what depends on it is there.

A step that is loaded with other tensors than before is called ready, and Triton silently unloads the ensembles that no
longer fit. So a model is only loaded with the configuration that it had when everything was well: before an ensemble
its steps where they differ, and after a step each ensemble over it that is not ready.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from conch_tools.healing.control import Control, ControlFailed
from conch_tools.server.stubs import Stub

Config = Mapping[str, Any]
Configs = Mapping[str, Config]

STAMP = "conch_repair"
"""Config parameter that differs from one repair to the next: Triton passes over a configuration that it has already."""


class Repairs:
    """Loads models of one server as they were when they were last known to be well."""

    def __init__(self, control: Control, configs: Configs, load_timeout_s: float) -> None:
        self._control = control
        self._configs = dict(configs)
        self._load_timeout_s = load_timeout_s

    @classmethod
    def of(cls, control: Control, load_timeout_s: float) -> Repairs:
        """With the configurations of all models that are loaded now. Raises ControlFailed."""
        return cls(control, {model: control.config(model) for model in control.ready_models()}, load_timeout_s)

    def configs_now(self, models: Iterable[str]) -> Configs:
        """Of those models that are loaded."""
        found = {}
        for model in models:
            with contextlib.suppress(ControlFailed):
                found[model] = self._control.config(model)
        return found

    def remember_all(self, expected: Collection[str]) -> None:
        """Whatever is loaded now is sound; what is neither loaded nor expected is not to be. Raises ControlFailed."""
        now = self.configs_now(self._control.ready_models())
        known = {**self._configs, **now}
        self._configs = {model: config for model, config in known.items() if model in now or model in expected}

    def remember(self, configs: Configs) -> None:
        """These are sound: somebody may have loaded a model anew, and what it has now is what it is to have."""
        self._configs.update(configs)

    def repair(self, model: str, stubs: Iterable[Stub] = ()) -> None:
        """Load the model anew; `stubs` are processes of its own that hang. Raises ControlFailed."""
        for stub in stubs:
            # A process that is stopped or stuck never ends by itself, and Triton would wait for it while unloading.
            with contextlib.suppress(ProcessLookupError):
                os.kill(stub.pid, signal.SIGKILL)
        for step in steps_of(self._configs[model]):
            if step in self._configs and self._differs(step):
                self._load(step)
        self._load(model)
        for ensemble in ensembles_over(model, self._configs):
            if not self._control.is_ready(ensemble):
                self._load(ensemble)

    def _load(self, model: str) -> None:
        self._control.load(model, stamped(self._configs[model]), self._load_timeout_s)
        if not self._control.is_ready(model):
            raise ControlFailed(f"model `{model}` was loaded, but Triton does not call it ready")

    def _differs(self, model: str) -> bool:
        now = self.configs_now([model]).get(model)
        return now is None or unstamped(now) != unstamped(self._configs[model])


def steps_of(config: Config) -> list[str]:
    """The models that an ensemble's configuration names; none of another model's."""
    return [step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", [])]


def is_ensemble(config: Config) -> bool:
    """Whether a configuration wires other models."""
    return "ensemble_scheduling" in config


def ensembles_over(model: str, configs: Configs) -> list[str]:
    """The ensembles that name a model as a step."""
    return [name for name, config in configs.items() if model in steps_of(config)]


def stamped(config: Config) -> dict[str, Any]:
    """The configuration as Triton has never loaded it, so that it is not passed over."""
    parameters = {**config.get("parameters", {}), STAMP: {"string_value": str(time.time_ns())}}
    return {**config, "parameters": parameters}


def unstamped(config: Config) -> dict[str, Any]:
    """The configuration without what tells one load from another."""
    parameters = {name: value for name, value in config.get("parameters", {}).items() if name != STAMP}
    return {**config, "parameters": parameters}
