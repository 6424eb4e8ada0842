"""What a load has begun is finished or taken back, as far as that goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conch_tools.errors import WrongAnswers
from conch_tools.healing.control import ControlFailed, Refused, Unanswered
from conch_tools.healing.load import _load_all, _taken_back_on_failure
from conch_tools.healing.loads import Loads, note_load
from conch_tools.healing.repair import STAMP
from conch_tools.locks import only_one
from conch_tools.server.record import loading_lock_path
from conch_tools.settings import Settings

BEFORE: dict[str, Any] = {"words": {"max_batch_size": 8}, "labels": {"max_batch_size": 8}}
PROVEN: dict[str, Any] = {"words": {"max_batch_size": 4}, "labels": {"max_batch_size": 4}}


class Control:
    """Stands in for a server that loads what it is told to, but for the loads that it is to refuse, by their number."""

    def __init__(self, refusals: Mapping[int, ControlFailed]) -> None:
        self.configs = dict(BEFORE)
        self.loads: list[str] = []
        self._refusals = refusals

    def config(self, model: str) -> dict[str, Any]:
        return dict(self.configs[model])

    def is_ready(self, model: str) -> bool:
        return True

    def load(self, model: str, config: Mapping[str, Any], timeout_s: float) -> None:
        self.loads.append(model)
        if refusal := self._refusals.get(len(self.loads)):
            raise refusal
        assert STAMP in config["parameters"], "Triton would pass over it"
        self.configs[model] = config


def load(control: Control) -> None:
    """Load what was proven."""
    with _taken_back_on_failure(control, BEFORE, 1.0, print) as loaded:  # type: ignore[arg-type]
        _load_all(control, PROVEN, BEFORE, loaded, 1.0)  # type: ignore[arg-type]


def sizes(control: Control) -> list[int]:
    return [config["max_batch_size"] for config in control.configs.values()]


def test_what_the_trial_proved_is_loaded() -> None:
    control = Control({})
    load(control)
    assert control.loads == ["words", "labels"] and sizes(control) == [4, 4]


def test_only_what_was_loaded_is_taken_back() -> None:
    control = Control({2: Refused("no")})
    with pytest.raises(Refused, match="no"):
        load(control)
    assert control.loads == ["words", "labels", "words"] and sizes(control) == [8, 8]


def test_a_load_that_nobody_answered_may_have_happened() -> None:
    control = Control({2: Unanswered("late")})
    with pytest.raises(Unanswered, match="late"):
        load(control)
    assert control.loads == ["words", "labels", "words", "labels"]


def test_one_that_cannot_be_taken_back_does_not_keep_the_others() -> None:
    control = Control({3: Refused("its file is gone"), 5: Refused("its file is gone")})
    said: list[str] = []
    with (
        pytest.raises(WrongAnswers, match="label"),
        _taken_back_on_failure(control, BEFORE, 1.0, said.append) as loaded,  # type: ignore[arg-type]
    ):
        _load_all(control, PROVEN, BEFORE, loaded, 1.0)  # type: ignore[arg-type]
        raise WrongAnswers("label")
    assert said == ["model `words` cannot be taken back: its file is gone"]
    assert sizes(control) == [4, 8]


def test_a_model_that_is_not_what_was_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control({})
    monkeypatch.setattr(control, "config", lambda model: {"max_batch_size": 2})
    with pytest.raises(ControlFailed, match="`words` was loaded, but its configuration is not the one that was tried"):
        load(control)


def test_the_healer_is_told_of_loads(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    loads = Loads(settings)
    assert not loads.unsettled and not loads.take()
    with only_one(loading_lock_path(settings), 0, lambda: None):
        assert loads.unsettled and not loads.take()
        note_load(settings, ["mood", "mood-v1"])
    assert loads.unsettled, "what it knows is of before the load"
    assert loads.take() == ["mood", "mood-v1"] and not loads.unsettled and loads.take() is None
