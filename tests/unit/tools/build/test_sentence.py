"""A sentence-transformers model's graph gives the library's own vectors, whatever stands behind its encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import AutoModel

from conch_steps.onnx_backend.session import ort
from conch_tools.build.ragged import export_ragged
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.build.sentence import OPTIONS, SentenceVectors, sentence_limit, sentence_model
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, Sample, Source
from small_text_models import POSITIONS, SENTENCES, save_small_model

WIDTH = 32
TEXTS = (*SENTENCES, "One", "Ärger!")
Layers = Callable[[], Sequence[torch.nn.Module]]
LAYERS: dict[str, Layers] = {
    "cls": lambda: [Pooling(WIDTH, "cls"), Normalize()],
    "max": lambda: [Pooling(WIDTH, "max")],
    "mean": lambda: [Pooling(WIDTH, "mean"), Normalize()],
    "mean_sqrt_len_tokens": lambda: [Pooling(WIDTH, "mean_sqrt_len_tokens")],
    "weightedmean": lambda: [Pooling(WIDTH, "weightedmean")],
    "lasttoken": lambda: [Pooling(WIDTH, "lasttoken"), Normalize()],
    "two at once": lambda: [Pooling(WIDTH, ("cls", "mean"))],
    "a dense layer": lambda: [Pooling(WIDTH, "cls"), Dense(WIDTH, 12), Normalize()],
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("encoder"), "bert", None)


def pipeline_of(folder: Path) -> Pipeline:
    return Pipeline(
        name="meaning",
        folder=folder,
        task="feature-extraction",
        description="",
        source=Source(folder=folder),
        samples=[Sample(input={}, expect={})],
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_vectors_are_those_of_the_library(kind: str, encoder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    library = SentenceTransformer(modules=[Transformer(str(encoder)), *LAYERS[kind]()], device="cpu")
    library.save(str(tmp_path / "saved"))
    loaded = sentence_model(pipeline_of(tmp_path / "saved"), tmp_path / "saved")
    encoder_alone = AutoModel.from_pretrained(encoder, attn_implementation="eager").eval()
    export_ragged(SentenceVectors(encoder_alone, list(loaded)[1:]), POSITIONS, "embedding", tmp_path / "model.onnx")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = library.tokenizer(list(TEXTS))["input_ids"]
    (vectors,) = session.run(["embedding"], ragged_feed([rows[:4], rows[4:]]))
    expected = library.encode(list(TEXTS), batch_size=1, show_progress_bar=False)
    assert vectors.shape == (len(TEXTS), loaded.get_embedding_dimension())
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_folder_that_names_no_layers_gets_the_mean(encoder: Path) -> None:
    _, layer = sentence_model(pipeline_of(encoder), encoder)
    assert isinstance(layer, Pooling)
    assert layer.pooling_mode == "mean"
    assert sentence_limit(encoder) is None


def test_what_is_more_than_an_encoder_with_layers_is_refused_by_name(encoder: Path, tmp_path: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BuildError, match="is made of CLIPModel: what is built is a Transformer with Pooling, Dense"):
        sentence_model(pipeline_of(tmp_path), tmp_path)


def test_a_prompt_before_every_text_is_refused_with_the_cure(encoder: Path, tmp_path: Path) -> None:
    library = SentenceTransformer(
        modules=[Transformer(str(encoder)), Pooling(WIDTH)],
        prompts={"query": "query: "},
        default_prompt_name="query",
        device="cpu",
    )
    library.save(str(tmp_path))
    assert (tmp_path / OPTIONS).is_file()
    with pytest.raises(BuildError, match="puts the prompt `query` before every text: set default_prompt_name to null"):
        sentence_model(pipeline_of(tmp_path), tmp_path)
