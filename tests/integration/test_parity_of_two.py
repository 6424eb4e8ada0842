"""`conch parity --against`: of two that are served, what differs is counted and the first step that differs is named.

The others are copies of `digits` with one step changed on purpose. The corpus is each digit once.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from sklearn.datasets import load_digits

from conch_client import Client
from conch_tools.errors import SettingsError
from conch_tools.parity.corpus import Input, read_corpus
from conch_tools.parity.verdict import Verdict
from conch_tools.parity.with_another import Other, compare_two
from conch_tools.pipelines import Likeness, Pipeline, load_pipeline
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

from .conftest import MakeSettings, RunConch, StartTriton

SIDE = 32
SHIFT = 0.5
"""What is added to the third logit."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON lines, line n + 1 with a picture of n."""
    folder = tmp_path_factory.mktemp("corpus")
    for number, pixels in enumerate(load_digits().images[:10]):
        file = io.BytesIO()
        Image.fromarray((255 - pixels * 15).astype(np.uint8)).resize((SIDE, SIDE)).save(file, "PNG")
        (folder / f"{number}.png").write_bytes(file.getvalue())
    lines = [json.dumps({"image": f"{number}.png"}) for number in range(10)]
    (folder / "digits.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "digits.jsonl"


def copy_of_digits(repository: Path, name: str) -> None:
    """`digits` once more under another name, open to changes."""
    for folder in Settings().repository.glob("digits*"):
        copy = repository / folder.name.replace("digits", name, 1)
        shutil.copytree(folder, copy)
        config = copy / "config.pbtxt"
        config.write_text(config.read_text().replace("digits", name))
        (copy / "1" / "manifest.json").unlink()


def swap_labels(repository: Path, name: str) -> None:
    labels = repository / f"{name}_labels" / "1" / "labels.txt"
    labels.write_text("1\n0\n" + "".join(f"{digit}\n" for digit in range(2, 10)))


def shift_a_logit(repository: Path, name: str) -> None:
    file = repository / f"{name}_model" / "1" / "model.onnx"
    model = onnx.load(str(file))
    bias = next(each for each in model.graph.initializer if list(each.dims) == [10])
    shifted = numpy_helper.to_array(bias).copy()
    shifted[3] += SHIFT
    bias.CopyFrom(numpy_helper.from_array(shifted, bias.name))
    onnx.save(model, str(file))


def darken(repository: Path, name: str) -> None:
    file = repository / f"{name}_decode" / "1" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_mean": [0.6]}))


CHANGES = {"swapped": swap_labels, "shifted": shift_a_logit, "dark": darken}


@pytest.fixture(scope="module")
def server(start_triton: StartTriton, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedServer:
    """A server with `digits`, a faithful `copy` and the changed ones."""
    repository = tmp_path_factory.mktemp("repository")
    for name in ("digits", "copy", *CHANGES):
        copy_of_digits(repository, name)
    for name, change in CHANGES.items():
        change(repository, name)
    return start_triton(repository)


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout_s=60) as client:
        yield client


@pytest.fixture
def digits() -> Pipeline:
    return load_pipeline(Settings().repository / "digits")


def compared(client: Client, pipeline: Pipeline, name: str, corpus: Path) -> Verdict:
    cases = read_corpus(corpus, [Input("image", "BYTES", (1,))])
    return compare_two(client, client, pipeline, cases, Other(name=name))


def test_a_copy_gives_the_same_answers_in_every_way(client: Client, digits: Pipeline, corpus: Path) -> None:
    verdict = compared(client, digits, "copy", corpus)
    assert verdict.passed and verdict.divergence is None and verdict.examples == []
    figures = {each.way: (each.figures.cases, each.figures.flips) for each in verdict.outcomes}
    assert figures == {"one by one": (10, 0), "batches": (10, 0), "concurrent": (10, 0)}


def test_labels_in_another_order_flip_the_cases_they_belong_to(client: Client, digits: Pipeline, corpus: Path) -> None:
    verdict = compared(client, digits, "swapped", corpus)
    assert not verdict.passed
    for outcome in verdict.outcomes:
        assert outcome.figures.flips == 2
        assert outcome.figures.flip_gap is not None and outcome.figures.flip_gap > 0.5
    flipped = {each.place: each.problem for each in verdict.examples if "`label`" in each.problem}
    assert flipped == {"line 1": "`label` is 1, expected is 0", "line 2": "`label` is 0, expected is 1"}


@pytest.mark.parametrize(
    ("name", "step", "problem"),
    [
        ("swapped", "labels", "`label` is "),
        ("shifted", "model", "`logits` differs by 5.00e-01"),
        ("dark", "decode", ""),
    ],
)
def test_the_first_step_that_differs_is_named(
    client: Client, digits: Pipeline, corpus: Path, name: str, step: str, problem: str
) -> None:
    divergence = compared(client, digits, name, corpus).divergence
    assert divergence is not None
    assert divergence.step == f"{name}_{step} (for digits_{step})"
    assert divergence.problem.startswith(problem)


def test_a_variant_is_held_against_its_own_gate(client: Client, digits: Pipeline, corpus: Path) -> None:
    gates = digits.gates.model_copy(update={"variant": Likeness(max_abs_difference=SHIFT, max_flips=0.1)})
    assert compared(client, digits.model_copy(update={"gates": gates}), "shifted", corpus).passed
    assert not compared(client, digits, "shifted", corpus).passed


def test_a_model_that_is_no_ensemble_is_compared_as_a_whole(client: Client, digits: Pipeline, corpus: Path) -> None:
    verdict = compared(client, digits, "digits_decode", corpus)
    assert not verdict.passed
    assert verdict.outcomes[0].differences[0].problem == "`label` is missing"


def test_two_of_different_inputs_are_refused(client: Client, digits: Pipeline, corpus: Path) -> None:
    with pytest.raises(SettingsError, match=r"`digits` takes image \(BYTES\) and `digits_model` takes pixels \(FP32\)"):
        compared(client, digits, "digits_model", corpus)


@pytest.fixture
def settings(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """A repository with `digits`, which has the profile `tuned`."""
    for folder in Settings().repository.glob("digits*"):
        shutil.copytree(folder, tmp_path / "repository" / folder.name)
    labels = tmp_path / "repository" / "digits_labels"
    (labels / "configs").mkdir()
    shutil.copy(labels / "config.pbtxt", labels / "configs" / "tuned.pbtxt")
    return make_settings(tmp_path / "repository")


def test_another_profile_is_served_beside(settings: Settings, corpus: Path, run_conch: RunConch) -> None:
    done = run_conch("parity", "digits", "--against-profile=tuned", f"--corpus={corpus}", settings=settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("digits gives the answers of digits with profile tuned (the gate is 1e-04).\n")


def test_another_server_is_asked_at_its_address(
    settings: Settings, corpus: Path, server: EmbeddedServer, run_conch: RunConch, tmp_path: Path
) -> None:
    file = tmp_path / "found.json"
    elsewhere = ("--against=swapped", f"--against-url={server.grpc_url}", f"--corpus={corpus}")
    done = run_conch("parity", "digits", *elsewhere, f"--output={file}", settings=settings)
    assert done.returncode == 1, done.stderr
    assert f"digits compared with swapped at {server.grpc_url} fails:" in done.stdout
    assert "  one by one: 2 cases with another label, the gate allows 0.0%\n" in done.stdout
    found: dict[str, Any] = json.loads(file.read_text())
    (pipeline,) = found["pipelines"]
    assert not found["passed"] and not pipeline["passed"]
    assert [(each["way"], each["flips"]) for each in pipeline["ways"]] == [("one by one", 2), ("batches", 2)]
    assert pipeline["first_diverging_step"]["step"] == "swapped_labels (for digits_labels)"


def test_a_version_may_be_named(settings: Settings, corpus: Path, run_conch: RunConch) -> None:
    same = run_conch("parity", "digits", "--against=digits:1", f"--corpus={corpus}", settings=settings)
    assert same.returncode == 0, same.stderr
    assert same.stdout.endswith("digits gives the answers of digits:1 (the gate is 1e-04).\n")
    none = run_conch("parity", "digits", "--against=digits:7", f"--corpus={corpus}", settings=settings)
    assert none.returncode == 1
    assert "digits cannot be compared with digits:7: " in none.stdout and "Traceback" not in none.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("digits --against digist --corpus {corpus}", "did you mean `digits`?"),
        ("digits --against-profile fast --corpus {corpus}", "has a profile `fast`: there are tuned"),
        ("digits --against digits@ --corpus {corpus}", "a model is written NAME, NAME:VERSION or NAME@HOST:PORT"),
        ("--all --against numerals", "--against is for one pipeline: name one"),
        ("--all --corpus {corpus}", "--corpus is for one pipeline: name one"),
        ("digits --corpus nowhere.jsonl", "nowhere.jsonl: it cannot be read: No such file or directory"),
        ("digits --against-url 127.0.0.1:{port} --corpus {corpus}", "127.0.0.1:{port}"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    arguments: str, said: str, settings: Settings, corpus: Path, run_conch: RunConch
) -> None:
    given = {"corpus": corpus, "port": settings.grpc_port}
    done = run_conch("parity", *arguments.format(**given).split(), settings=settings)
    assert done.returncode > 0 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("conch: ") and said.format(**given) in line
