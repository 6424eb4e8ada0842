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
ONE, SEVERAL = ("TYPE_STRING", (1,)), ("TYPE_STRING", (-1,))
RANKING = {"label", "score"}
PUBLIC_TENSORS = {
    "feature-extraction": ({"text": ONE}, {"embedding"}),
    "text-classification": ({"text": ONE}, RANKING),
    "token-classification": ({"text": ONE}, {"entities"}),
    "question-answering": ({"question": ONE, "context": ONE}, {"answers"}),
    "zero-shot-classification": ({"text": ONE, "labels": SEVERAL}, RANKING),
    "fill-mask": ({"text": ONE}, {"fills"}),
    "image-classification": ({"image": ONE}, RANKING),
    "zero-shot-image-classification": ({"image": ONE, "labels": SEVERAL}, RANKING),
    "tabular-classification": ({"features": ONE}, RANKING),
    "tabular-vote": ({"features": ONE}, RANKING),
    "time-series-forecasting": (
        {"history": ("TYPE_FP32", (-1,)), "horizon": ("TYPE_INT32", (1,))},
        {"forecast", "lower", "upper"},
    ),
    "retrieval": ({"query": ONE}, {"results"}),
}
"""Of each task: inputs with data type and dims, and the names of the outputs."""


def test_the_check_finds_nothing() -> None:
    assert render(check_repository(REPOSITORY, Settings().backends)) == "no faults found"


SECOND_DOORS = {"search_catalogue"}
"""Ensembles beside a pipeline's own: what callers need besides its answers."""


def test_every_ensemble_is_a_pipeline_and_every_pipeline_an_ensemble() -> None:
    assert {model.name for model in MODELS if model.is_ensemble} - SECOND_DOORS == set(PIPELINES)


def test_every_other_model_belongs_to_one_pipeline() -> None:
    owned = [model for pipeline in PIPELINES.values() for model in pipeline.models]
    assert sorted([*owned, *PIPELINES]) == sorted(model.name for model in MODELS)


@pytest.mark.parametrize("name", PIPELINES)
def test_public_tensors_are_those_of_the_task_and_take_whole_batches(name: str) -> None:
    ensemble = MODELS.models[name]
    inputs, outputs = PUBLIC_TENSORS[PIPELINES[name].task]
    assert {tensor.name: (tensor.data_type, tensor.dims) for tensor in ensemble.inputs} == inputs
    assert {tensor.name for tensor in ensemble.outputs} == outputs
    assert ensemble.config.max_batch_size >= 32


@pytest.mark.parametrize("model", [model.name for model in MODELS if not model.is_ensemble])
def test_every_step_batches(model: str) -> None:
    config = MODELS.models[model].config
    assert config.max_batch_size >= 32
    assert config.HasField("dynamic_batching")
    assert not config.runtime, "core chooses between the C++ backend and our stand-in"


@pytest.mark.parametrize("name", PIPELINES)
def test_every_sample_can_be_sent(name: str) -> None:
    pipeline = PIPELINES[name]
    assert all(pipeline.sample_inputs(sample) for sample in pipeline.samples)
    assert pipeline.description.endswith(".")


def test_the_repository_holds_no_code() -> None:
    assert not [path for path in REPOSITORY.rglob("*") if path.suffix in {".py", ".so", ".sh"}]
