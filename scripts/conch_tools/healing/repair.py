"""Bring one model back: end what is left of its processes, load it anew, and see that what depends on it is there.

A step that is loaded with other tensors than before is called ready, and Triton silently unloads the ensembles that no
longer fit. So a model is only loaded with the configuration that it had when everything was well, and afterwards each
ensemble over it must be ready; one that is not is loaded as well.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Any

from conch_tools.healing.control import Control, ControlFailed
from conch_tools.server.stubs import Stub

Configs = Mapping[str, dict[str, Any]]

COUNTER = "conch_repair"
"""Config parameter that differs from one repair to the next: Triton passes over a configuration that it has already."""


class Repairs:
    """Loads models of one server as they were configured at its start."""

    def __init__(self, control: Control, configs: Configs, load_timeout_s: float) -> None:
        self._control = control
        self._configs = configs
        self._load_timeout_s = load_timeout_s
        self._numbers = itertools.count(1)

    @classmethod
    def of(cls, control: Control, load_timeout_s: float) -> Repairs:
        """With the configurations of all models that are loaded now. Raises ControlFailed."""
        return cls(control, {model: control.config(model) for model in control.ready_models()}, load_timeout_s)

    def repair(self, model: str, stubs: Iterable[Stub] = ()) -> None:
        """Load the model anew; `stubs` are processes of its own that hang. Raises ControlFailed."""
        for stub in stubs:
            # A process that is stopped or stuck never ends by itself, and Triton would wait for it while unloading.
            with contextlib.suppress(ProcessLookupError):
                os.kill(stub.pid, signal.SIGKILL)
        self._load(model)
        for ensemble in self._ensembles_over(model):
            if not self._control.is_ready(ensemble):
                self._load(ensemble)

    def _load(self, model: str) -> None:
        config = self._configs[model]
        counted = {**config.get("parameters", {}), COUNTER: {"string_value": str(next(self._numbers))}}
        self._control.load(model, {**config, "parameters": counted}, self._load_timeout_s)
        if not self._control.is_ready(model):
            raise ControlFailed(f"model `{model}` was loaded, but Triton does not call it ready")

    def _ensembles_over(self, model: str) -> list[str]:
        return [name for name, config in self._configs.items() if model in steps_of(config)]


def steps_of(config: Mapping[str, Any]) -> list[str]:
    """The models that an ensemble's configuration names; none of another model's."""
    return [step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", [])]
