"""Models are loaded as they were when all was well, steps before the ensembles over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from conch_tools.healing.control import ControlFailed
from conch_tools.healing.repair import STAMP, Repairs, ensembles_over, steps_of

ENSEMBLE = {
    "name": "mood",
    "ensemble_scheduling": {"step": [{"model_name": "mood_words"}, {"model_name": "mood_labels"}]},
}
SOUND: dict[str, Any] = {"mood": ENSEMBLE, "mood_words": {"max_batch_size": 8}, "mood_labels": {"max_batch_size": 8}}


class Control:
    """Stands in for a server that has loaded `configs` and takes whatever it is told to load."""

    def __init__(self, configs: Mapping[str, Any]) -> None:
        self.configs = dict(configs)
        self.loads: list[str] = []

    def ready_models(self) -> list[str]:
        return sorted(self.configs)

    def is_ready(self, model: str) -> bool:
        return model in self.configs

    def config(self, model: str) -> dict[str, Any]:
        if model not in self.configs:
            raise ControlFailed(f"unknown model {model}")
        return dict(self.configs[model])

    def load(self, model: str, config: Mapping[str, Any], timeout_s: float) -> None:
        self.configs[model] = config
        self.loads.append(model)


@pytest.fixture
def control() -> Control:
    return Control(SOUND)


@pytest.fixture
def repairs(control: Control) -> Repairs:
    return Repairs.of(control, 1.0)  # type: ignore[arg-type]


def test_a_step_is_loaded_alone_while_its_ensemble_stands(control: Control, repairs: Repairs) -> None:
    repairs.repair("mood_labels")
    assert control.loads == ["mood_labels"]


def test_each_load_has_a_configuration_of_its_own(control: Control, repairs: Repairs) -> None:
    repairs.repair("mood_labels")
    first = control.config("mood_labels")["parameters"][STAMP]
    repairs.repair("mood_labels")
    assert control.config("mood_labels")["parameters"][STAMP] != first


def test_an_ensemble_that_a_step_cost_is_loaded_behind_it(control: Control, repairs: Repairs) -> None:
    del control.configs["mood"]
    repairs.repair("mood_labels")
    assert control.loads == ["mood_labels", "mood"]


def test_before_an_ensemble_the_steps_are_loaded_that_differ(control: Control, repairs: Repairs) -> None:
    repairs.repair("mood_words")
    control.configs["mood_labels"] = {"max_batch_size": 4}
    del control.configs["mood"]
    control.loads.clear()
    repairs.repair("mood")
    assert control.loads == ["mood_labels", "mood"]
    assert control.config("mood_labels")["max_batch_size"] == 8


def test_what_answered_rightly_is_what_a_model_is_to_have(control: Control, repairs: Repairs) -> None:
    control.configs["mood_labels"] = {"max_batch_size": 4}
    repairs.remember(repairs.configs_now(["mood_labels", "mood_gone"]))
    repairs.repair("mood_labels")
    assert control.config("mood_labels")["max_batch_size"] == 4


def test_ensembles_and_their_steps_are_read_from_configurations() -> None:
    assert steps_of(ENSEMBLE) == ["mood_words", "mood_labels"]
    assert steps_of({}) == []
    assert ensembles_over("mood_words", SOUND) == ["mood"]
