"""Which steps may die in a measurement is read from the repository."""

from __future__ import annotations

import pytest

from conch_tools.bench.victims import victims
from conch_tools.errors import SettingsError
from conch_tools.settings import Settings

SETTINGS = Settings()


UNUSED = {"mask_filler"}
"""Backends of ours that no model of the repository has; `conch new` writes models with them."""


def test_every_backend_of_the_project_has_a_victim() -> None:
    backends = {folder.parent.name for folder in SETTINGS.backends.glob("*/model.py")}
    assert {victim.backend for victim in victims(SETTINGS)} == backends - UNUSED


def test_a_kind_stands_for_its_first_step_and_a_step_for_itself() -> None:
    assert [victim.model for victim in victims(SETTINGS, "class_labels")] == ["digits_labels"]
    assert [victim.backend for victim in victims(SETTINGS, "risk_vote_labels")] == ["class_labels"]


def test_a_step_that_no_request_to_its_pipeline_passes_is_asked_itself() -> None:
    on_the_way = {victim.model: victim.on_the_way for victim in victims(SETTINGS)}
    assert not on_the_way["search_changes"]
    assert on_the_way["search_index"]


def test_a_step_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"no step `labels`; kinds of steps are: .*class_labels"):
        victims(SETTINGS, "labels")
