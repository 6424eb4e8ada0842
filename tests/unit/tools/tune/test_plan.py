"""What can be tuned of the project's own pipelines, and what a candidate makes of their configurations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError, SettingsError
from conch_tools.settings import Settings
from conch_tools.tune.errors import NothingToTune
from conch_tools.tune.plan import Plan, load_plan

PIPELINE = """
task = "tabular-classification"
description = "d"
source.training = "t"
samples = [{ input = { a = 1 }, expect = { b = 1 } }]
"""


@pytest.fixture
def plan() -> Plan:
    return load_plan(Settings(), "sentiment", None)


def test_the_current_candidate_changes_nothing(plan: Plan) -> None:
    assert plan.configs(plan.current) == plan.base


def test_every_step_of_the_ensemble_can_be_set(plan: Plan) -> None:
    steps = ["sentiment_labels", "sentiment_model", "sentiment_tokenize"]
    assert [step.model for step in plan.current.steps] == steps
    assert plan.current.max_batch == 64


def test_the_maximum_batch_is_raised_over_the_whole_ensemble(plan: Plan) -> None:
    configs = plan.configs(dataclasses.replace(plan.current, max_batch=128))
    assert {config.max_batch_size for config in configs.values()} == {128}


def test_models_of_other_pipelines_are_loaded_and_left_alone() -> None:
    plan = load_plan(Settings(), "zero_shot", None)
    assert [step.model for step in plan.current.steps] == ["zero_shot_scores"]
    assert "embed_model" in plan.models
    assert "embed_model" not in plan.base
    assert [step.model for step in plan.neighbours] == ["embed_model", "embed_tokenize"]


def test_a_pipeline_without_steps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alone" / "1").mkdir(parents=True)
    (tmp_path / "alone" / "config.pbtxt").write_text('backend: "b"\ninstance_group [ { count: 1 }, { count: 1 } ]\n')
    (tmp_path / "alone" / "pipeline.toml").write_text(PIPELINE)
    with pytest.raises((NothingToTune, RepositoryError)):
        load_plan(Settings(repository=tmp_path), "alone", None)


@pytest.mark.parametrize(
    ("name", "profile", "said"),
    [("sentimnt", None, "did you mean `sentiment`"), ("embed", "nope", "has a profile `nope`")],
)
def test_what_is_not_there_is_said(name: str, profile: str | None, said: str) -> None:
    with pytest.raises((RepositoryError, SettingsError), match=said):
        load_plan(Settings(), name, profile)
