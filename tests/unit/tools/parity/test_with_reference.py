"""The reference library on a user's own inputs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conch_tools.build.reference import Item, Reference, byte_item
from conch_tools.parity.with_reference import Unanswerable, reference_of
from conch_tools.pipelines import Pipeline, load_pipeline
from conch_tools.settings import Settings


@pytest.fixture
def risk() -> Pipeline:
    return load_pipeline(Settings().repository / "risk")


def row(**features: Any) -> Item:
    return byte_item(features=json.dumps(features))


def test_the_reference_answers_what_is_asked(risk: Pipeline) -> None:
    given = dict(risk.samples[1].input["features"])
    reference = reference_of(risk, [row(**given), row(entity_id="patient-17"), row(entity_id="patient-17", **given)])
    assert isinstance(reference, Reference)
    best = [labels[0] for labels in reference.answers["label"]]
    assert best == [b"benign", b"malignant", best[2]]
    rows = reference.steps[0].outputs["rows"]
    assert (rows[2] != rows[1]).any() and (rows[2] != rows[0]).any()


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (
            row(size_class="small"),
            "a row lacks mean_concave_points, mean_concavity, worst_concave_points, worst_concavity",
        ),
        (row(entity_id="nobody"), "the training's data have no entity_id 'nobody'"),
        (byte_item(features="{"), "JSONDecodeError: "),
    ],
)
def test_the_first_case_that_the_reference_refuses_is_named(risk: Pipeline, item: Item, problem: str) -> None:
    refused = reference_of(risk, [row(entity_id="patient-17"), item, item])
    assert isinstance(refused, Unanswerable)
    assert refused.index == 1
    assert refused.problem.startswith(problem)
