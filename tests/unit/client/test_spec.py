from __future__ import annotations

from typing import Any

import pytest

from conch_client import ModelMetadata, TensorMetadata
from conch_client._spec import Catalog, ModelSpec, TensorSpec

INPUTS = (TensorMetadata("ids", "INT32", (-1, 7)), TensorMetadata("hint", "BYTES", (-1, 1)))


def spec_of(version: str = "", versions: tuple[str, ...] = ("1",), **config: Any) -> ModelSpec:
    return ModelSpec.of(version, ModelMetadata("m", versions, "onnxruntime_onnx", INPUTS, ()), config)


def test_items_of_a_batching_model_are_described_without_the_batch_dimension() -> None:
    spec = spec_of(max_batch_size=8)
    assert spec.inputs["ids"] == TensorSpec("ids", "INT32", (7,))
    assert spec.max_batch_size == 8


def test_a_model_without_batches_keeps_all_its_dimensions() -> None:
    assert spec_of().inputs["ids"].dims == (-1, 7)
    assert spec_of().max_batch_size == 0


def test_the_configuration_says_which_inputs_are_optional() -> None:
    spec = spec_of(input=[{"name": "hint", "optional": True}, {"name": "ids"}])
    assert [name for name, tensor in spec.inputs.items() if tensor.optional] == ["hint"]


@pytest.mark.parametrize(("versions", "latest"), [(("9", "10", "2"), "10"), ((), ""), (("1",), "1")])
def test_the_latest_version_is_the_highest_number(versions: tuple[str, ...], latest: str) -> None:
    assert spec_of(versions=versions).latest == latest


def test_an_answer_of_another_version_outdates_what_was_learned_of_the_latest() -> None:
    assert spec_of(versions=("1", "2")).outdated_by("3")
    assert not spec_of(versions=("1", "2")).outdated_by("2")


def test_what_was_learned_of_a_named_version_stays_true_of_it() -> None:
    assert not spec_of(version="1", versions=("1", "2")).outdated_by("1")


def test_the_catalog_keeps_each_version_asked_for_by_itself() -> None:
    catalog = Catalog()
    latest, first = spec_of(), spec_of(version="1")
    catalog.keep(latest)
    catalog.keep(first)
    catalog.forget(first)
    assert catalog.find("m", "") == latest
    assert catalog.find("m", "1") is None


def test_forgetting_twice_is_harmless() -> None:
    Catalog().forget(spec_of())
