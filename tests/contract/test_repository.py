"""The model repository itself: the check finds nothing, and every ensemble is a pipeline that tells its origin."""

from __future__ import annotations

import pytest

from conch_tools.check import check_repository, render
from conch_tools.check.repository import load_repository
from conch_tools.pipelines import load_pipelines
from conch_tools.settings import Settings

REPOSITORY = Settings().repository
MODELS = load_repository(REPOSITORY, Settings().backends)
PIPELINES = {pipeline.name: pipeline for pipeline in load_pipelines(REPOSITORY)}
PUBLIC_TENSORS = {
    "feature-extraction": ({"text"}, {"embedding"}),
    "text-classification": ({"text"}, {"label", "score"}),
    "image-classification": ({"image"}, {"label", "score"}),
}


def test_the_check_finds_nothing() -> None:
    assert render(check_repository(REPOSITORY, Settings().backends)) == "no faults found"


def test_every_ensemble_is_a_pipeline_and_every_pipeline_an_ensemble() -> None:
    assert {model.name for model in MODELS if model.is_ensemble} == set(PIPELINES)


def test_every_other_model_is_a_step_of_one_pipeline() -> None:
    steps = [step for pipeline in PIPELINES.values() for step in pipeline.models]
    assert sorted(steps) == sorted(model.name for model in MODELS if not model.is_ensemble)


@pytest.mark.parametrize("name", PIPELINES)
def test_public_tensors_are_those_of_the_task_and_take_whole_batches(name: str) -> None:
    ensemble = MODELS.models[name]
    inputs, outputs = PUBLIC_TENSORS[PIPELINES[name].task]
    assert {tensor.name for tensor in ensemble.inputs} == inputs
    assert {tensor.name for tensor in ensemble.outputs} == outputs
    assert all((tensor.data_type, tensor.dims) == ("TYPE_STRING", (1,)) for tensor in ensemble.inputs)
    assert ensemble.config.max_batch_size >= 32


@pytest.mark.parametrize("model", [model.name for model in MODELS if not model.is_ensemble])
def test_every_step_batches_and_bounds_its_queue(model: str) -> None:
    config = MODELS.models[model].config
    assert config.max_batch_size >= 32
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0
    assert not config.runtime, "core chooses between the C++ backend and our stand-in"


@pytest.mark.parametrize("name", PIPELINES)
def test_every_sample_can_be_sent(name: str) -> None:
    pipeline = PIPELINES[name]
    assert all(pipeline.sample_inputs(sample) for sample in pipeline.samples)
    assert pipeline.description.endswith(".")


def test_the_repository_holds_no_code() -> None:
    assert not [path for path in REPOSITORY.rglob("*") if path.suffix in {".py", ".so", ".sh"}]
