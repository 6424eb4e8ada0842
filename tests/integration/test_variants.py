"""Variants, from pipeline.toml to the served answer: what passes its gates is served by a profile, what misses one is
refused and leaves nothing.

The pipeline is `digits`, which builds fastest; the figures of `embed` are those of the file that `conch build` made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from tokenizers import Tokenizer

from conch_client import Client
from conch_steps.catalogue_seed import ITEMS_FILE, read_items
from conch_steps.manifest import listed_files
from conch_steps.onnx_backend.session import ort
from conch_tools.bench.corpus import mixed_length_texts
from conch_tools.build import run
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.errors import BuildError
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.releases.folders import pipelines_named
from conch_tools.samples import ask
from conch_tools.settings import Settings
from conch_tools.verify import verify
from workers_here import one_after_the_other

from .conftest import MakeSettings, StartTriton

Configure = Callable[[str, str], Settings]
DATA = Path(run.__file__).parents[1] / "training" / "data"
BATCH = 16


@pytest.fixture
def digits(tmp_path: Path, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A repository with `digits`, built as it is, and variants in its pipeline.toml."""
    # A process of its own, which saves memory, would spend its time on importing torch.
    monkeypatch.setattr(run, "in_workers", one_after_the_other)

    def configure(variants: str, gate: str) -> Settings:
        for folder in Settings().repository.glob("digits*"):
            shutil.copytree(folder, tmp_path / "repository" / folder.name)
        file = tmp_path / "repository" / "digits" / "pipeline.toml"
        text = file.read_text().replace("[source]", f"variants = {variants}\n[source]")
        file.write_text(text.replace("[gates]", f"[gates]\n{gate}"))
        return make_settings(tmp_path / "repository")

    return configure


def test_a_variant_that_passes_its_gates_is_served_by_a_profile(digits: Configure, start_triton: StartTriton) -> None:
    settings = digits('["int8-calibrated"]', "variant = { max_abs_difference = 0.5, max_flips = 0.05 }")
    pipelines = load_pipelines(settings.repository)
    said: list[str] = []
    assert run.build(settings, pipelines, said.append) == ["digits"]
    assert any("variant int8-calibrated passes its gates" in line for line in said)

    version = settings.repository / "digits_model" / "1"
    files = listed_files(version / "manifest.json")
    assert set(files) == {"model.onnx", "model.int8-calibrated.onnx"}
    assert files["model.int8-calibrated.onnx"]["made"].startswith("static INT8")
    assert files["model.int8-calibrated.onnx"]["bytes"] < files["model.onnx"]["bytes"]
    quality = json.loads((settings.repository / "digits" / "1" / "manifest.json").read_text())["quality"]
    assert quality["variants"]["int8-calibrated"]["accuracy"] >= 0.97
    assert all(each.problem is None for each in verify(settings.repository))
    assert run.build(settings, pipelines, said.append) == []

    profile = settings.repository / "digits_model" / "configs" / "small.pbtxt"
    profile.parent.mkdir()
    config = (settings.repository / "digits_model" / "config.pbtxt").read_text()
    profile.write_text(f'{config}default_model_filename: "model.int8-calibrated.onnx"\n')
    scores = [
        _scores(start_triton(settings.repository, models_of(pipelines), profile=each)) for each in (None, "small")
    ]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.5


def _scores(server: Any) -> npt.NDArray[np.float32]:
    """What is made of one digit, by name of label."""
    pixels = (255 - load_digits().images[7] * 15).astype(np.uint8)
    with Client(server.grpc_url, timeout_s=60) as client:
        found = client.classify("digits", pixels).scores
    return np.array([found[label] for label in sorted(found)], dtype=np.float32)


def test_a_variant_that_misses_a_gate_is_refused_and_leaves_what_there_was(digits: Configure) -> None:
    settings = digits('["int8"]', "variant = { max_abs_difference = 1e-9 }")
    version = settings.repository / "digits_model" / "1"
    before = {file.name: file.read_bytes() for file in version.iterdir()}
    with pytest.raises(BuildError, match=r"variant `int8` is refused: .*the worst difference is .*, the gate is 1e-09"):
        run.build(settings, load_pipelines(settings.repository), lambda line: None)
    assert {file.name: file.read_bytes() for file in version.iterdir()} == before
    assert not (settings.state / "staging").exists()


class Embedder:
    """`embed` in this process, by one of its files."""

    def __init__(self, file: str) -> None:
        repository = Settings().repository
        self._tokenizer = Tokenizer.from_file(str(repository / "embed_tokenize" / "1" / "tokenizer.json"))
        self._session = ort.InferenceSession(
            str(repository / "embed_model" / "1" / file), providers=["CPUExecutionProvider"]
        )

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        found = [
            self._session.run(["embedding"], ragged_feed([[rows[index]] for index in order[start : start + BATCH]]))[0]
            for start in range(0, len(rows), BATCH)
        ]
        vectors = np.empty((len(rows), found[0].shape[1]), dtype=np.float32)
        vectors[order] = np.concatenate(found)
        return vectors


@pytest.fixture(scope="module")
def embedders() -> tuple[Embedder, Embedder]:
    """FP32 and INT8."""
    return Embedder("model.onnx"), Embedder("model.int8.onnx")


def mixed_texts() -> list[str]:
    """500 texts: questions, paragraphs, reviews' words at random, items of the catalogue, and their titles."""
    lines = [
        line for file in ("heldout", "paragraphs") for line in (DATA / "qa" / f"{file}.txt").read_text().split("\n")
    ]
    questions = [line[2:] for line in lines if line.startswith("? ")][:150]
    paragraphs = [line[2:] for line in lines if line.startswith("# ")][:50]
    items = read_items(Settings().repository / "search" / ITEMS_FILE)
    words = mixed_length_texts(100)
    texts = [*questions, *paragraphs, *words, *(item.text for item in items[::3]), *(item.title for item in items[::4])]
    return list(dict.fromkeys(texts))[:500]


def test_similarities_of_texts_keep_their_order_in_int8(embedders: tuple[Embedder, Embedder]) -> None:
    texts = mixed_texts()
    pairs = np.triu_indices(len(texts), 1)
    full, small = ((vectors @ vectors.T)[pairs] for vectors in (embed(texts) for embed in embedders))
    assert len(texts) >= 450
    assert spearmanr(full, small).statistic >= 0.98


def test_an_item_named_by_its_title_is_found_as_well_in_int8(embedders: tuple[Embedder, Embedder]) -> None:
    """Where the margins are as small as those of neighbours among all items, INT8 often prefers another: that is why it
    is no default."""
    items = read_items(Settings().repository / "search" / ITEMS_FILE)
    vectors = embedders[0]([item.embedded_text for item in items])
    full, small = ((embed([item.title for item in items]) @ vectors.T).argmax(axis=1) for embed in embedders)
    assert (full == small).mean() >= 0.99


def test_every_pipeline_that_embeds_answers_rightly_with_the_variant(start_triton: StartTriton) -> None:
    repository = Settings().repository
    pipelines = pipelines_named(repository, ["embed", "search", "zero_shot"], "cpu-int8")
    server = start_triton(repository, models_of(pipelines), profile="cpu-int8")
    with Client(server.grpc_url, timeout_s=60) as client:
        found = [ask(client, each, sample) for each in pipelines for sample in each.samples]
    assert [f"{each.pipeline}: {each.problem}" for each in found if each.problem] == []
