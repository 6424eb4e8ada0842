"""Sample requests prove a pipeline: right answers pass, any other says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conch_client import Client
from conch_tools.pipelines import Pipeline, Sample, load_pipelines
from conch_tools.samples import ask

REPOSITORY = Path(__file__).parents[2] / "model_repository"
PIPELINES = load_pipelines(REPOSITORY)


@pytest.fixture
def client(triton: Any) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


def pipeline(name: str) -> Pipeline:
    return next(each for each in PIPELINES if each.name == name)


@pytest.mark.parametrize(
    ("name", "number"), [(each.name, number) for each in PIPELINES for number in range(len(each.samples))]
)
def test_every_sample_is_answered_as_its_file_says(client: Client, name: str, number: int) -> None:
    answer = ask(client, pipeline(name), pipeline(name).samples[number])
    assert answer.problem is None
    assert answer.latency_ms > 0


def test_another_label_is_a_problem(client: Client) -> None:
    wrong = pipeline("digits").samples[0].model_copy(update={"expect": {"label": "3"}})
    assert ask(client, pipeline("digits"), wrong).problem == "`label` is 7, pipeline.toml expects 3"


def test_another_number_is_a_problem(client: Client) -> None:
    wrong = pipeline("embed").samples[0].model_copy(update={"expect": {"embedding": [0.5]}})
    assert "`embedding[0]` differs from pipeline.toml by" in str(ask(client, pipeline("embed"), wrong).problem)


def test_a_server_that_does_not_know_the_pipeline_is_a_problem_not_an_exception(client: Client) -> None:
    absent = pipeline("embed").model_copy(update={"name": "absent"})
    sample = Sample(input={"text": "x"}, expect={})
    assert "unknown model" in str(ask(client, absent, sample).problem)


@pytest.mark.parametrize(
    ("name", "number", "pattern"),
    [
        ("digits", 0, r"7 \(0\.\d{3}\)"),
        ("embed", 0, r"embedding \[-?0\.\d{3}, .*, …\] \(384 numbers\)"),
        ("forecast", 0, r"forecast \[371\.\d{3}, .*\] \(3 numbers\)"),
        ("ner", 0, r"entities Ingrid Solheim \(person 0\.\d{3}\), Bergen \(place .*…"),
        ("ner", 1, "entities none"),
        ("qa", 1, r"answers nothing \(0\.\d{3}\)"),
        ("search", 0, r"results cleats-ice-tread \(0\.\d{3}\), .*"),
    ],
)
def test_an_answer_is_told_in_words(client: Client, name: str, number: int, pattern: str) -> None:
    assert re.fullmatch(pattern, ask(client, pipeline(name), pipeline(name).samples[number]).answer)
