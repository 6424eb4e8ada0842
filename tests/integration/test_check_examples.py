"""The repository of examples is more than text: the real server loads all of it, and its pipelines answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conch_client import Client
from conch_tools.check.examples import sound_repository, write_repository
from conch_tools.pipelines import load_pipelines
from conch_tools.samples import ask
from conch_tools.server import EmbeddedServer

StartTriton = Callable[..., EmbeddedServer]


def test_the_repository_of_examples_is_served_and_its_pipelines_answer(
    start_triton: StartTriton, tmp_path: Path
) -> None:
    write_repository(sound_repository(), tmp_path)
    pipelines = load_pipelines(tmp_path)
    with Client(start_triton(tmp_path).grpc_url) as client:
        answers = [ask(client, pipeline, sample) for pipeline in pipelines for sample in pipeline.samples]
    assert {answer.pipeline: answer.problem for answer in answers} == {
        "embed": None,
        "photo": None,
        "sentiment": None,
        "topics": None,
    }
