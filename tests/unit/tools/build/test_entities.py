"""Any token classifier in a folder can be built: its graph and its step give transformers' own entities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from conch_steps.class_labels import read_labels
from conch_steps.entities import EntityReader, WordRule
from conch_steps.onnx_backend.session import ort
from conch_steps.windows import WindowTokenizer
from conch_tools.build.entities import TokenClassifierBuilder
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.build.staging import Staged
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, load_pipeline

LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "LOC"}
PIECES = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "ada", "##lia", "went", "to", "oslo", "."]
MAX_TOKENS, OVERLAP, POSITIONS = 10, 3, 16
CONFIG = """
backend: "token_entities"
parameters {{ key: "max_tokens" value {{ string_value: "{max_tokens}" }} }}
parameters {{ key: "overlap" value {{ string_value: "{overlap}" }} }}
"""
PIPELINE = """
task = "token-classification"
description = "People and places."
source = { folder = "classifier" }
samples = [{ input = { text = "Adalia went to Oslo. Ada." }, expect = {} }]
"""


def bert() -> PreTrainedModel:
    size: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(
        vocab_size=len(PIECES), max_position_embeddings=POSITIONS, initializer_range=0.6, id2label=LABELS, **size
    )
    return BertForTokenClassification(config)


def distilbert() -> PreTrainedModel:
    size: dict[str, Any] = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    config = DistilBertConfig(
        vocab_size=len(PIECES), max_position_embeddings=POSITIONS, initializer_range=0.6, id2label=LABELS, **size
    )
    return DistilBertForTokenClassification(config)


def save_classifier(folder: Path, model: PreTrainedModel) -> None:
    tokenizer = Tokenizer(WordPiece({piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    model.save_pretrained(folder)


def make_pipeline(repository: Path, model: PreTrainedModel, max_tokens: int = MAX_TOKENS) -> Pipeline:
    for name in ("people", "people_entities", "people_model"):
        (repository / name).mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(CONFIG.format(max_tokens=max_tokens, overlap=OVERLAP))
    (repository / "people" / "pipeline.toml").write_text(PIPELINE)
    save_classifier(repository / "people" / "classifier", model)
    return load_pipeline(repository / "people")


@pytest.mark.parametrize("make", [bert, distilbert])
def test_a_folder_becomes_a_step_and_a_graph_that_agree_with_transformers(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    pipeline = make_pipeline(tmp_path / "repository", make())
    staged = Staged.fresh(pipeline, tmp_path / "staging")
    builder = TokenClassifierBuilder(pipeline)
    builder.stage(staged)
    reference = builder.reference(builder.corpus())

    step = staged.version("people_entities")
    reader = EntityReader(
        WindowTokenizer(step / "tokenizer.json", MAX_TOKENS, OVERLAP),
        WordRule.read(step / "tokenizer.json"),
        read_labels(step / "labels.txt"),
        "simple",
    )
    session = ort.InferenceSession(str(staged.version("people_model") / "model.onnx"))

    def logits(rows: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        return list(session.run(["logits"], ragged_feed([[row] for row in rows]))[0])

    found = 0
    for item, wanted in zip(reference.items, reference.answers["entities"], strict=True):
        (answer,) = reader.read(item["text"].reshape(1, 1), None, logits)["entities"][0]
        entities, expected = json.loads(answer), json.loads(wanted[0])
        assert [each.pop("score") for each in entities] == pytest.approx(
            [each.pop("score") for each in expected], abs=1e-5
        )
        assert entities == expected
        found += len(entities)
    assert found > 100
    assert reference.library == "transformers"
    assert builder.quality() is None


def test_windows_that_the_classifier_cannot_take_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"max_tokens is 99, but its source takes {POSITIONS}"):
        TokenClassifierBuilder(make_pipeline(tmp_path, bert(), max_tokens=99))


def test_a_pipeline_without_its_step_is_refused(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, bert())
    (tmp_path / "people_entities" / "config.pbtxt").unlink()
    with pytest.raises(BuildError, match=r"people_entities/config\.pbtxt is missing"):
        TokenClassifierBuilder(pipeline)
