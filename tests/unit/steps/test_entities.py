"""Tokens become entities as transformers' pipeline makes them, by every strategy and over every window."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordLevel, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
    TokenClassificationPipeline,
)

from conch_steps.entities import (
    STRATEGY,
    Entity,
    EntityReader,
    Strategy,
    WordRule,
    joined,
    strategy_named,
)
from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.serving import StepModel
from conch_steps.windows import WindowTokenizer

MAX_TOKENS, OVERLAP = 12, 4
LABELS = ["O", "B-person", "I-person", "B-place", "I-place"]
PIECES = ["ada", "##lia", "##s", "in", "oslo", "e", "a", ".", "-", "'", "שלום", "東", "京", "🙂", "b", "##b"]
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
STRATEGIES = get_args(Strategy)
WORDS = [
    "Ada",
    "adalia",
    "adalias",
    "in",
    "Oslo",
    ".",
    "é",
    "e\u0301",
    "שלום",
    "東京",
    "🙂🙂",
    "bb",
    "x-b",
    "b's",
    "\n",
    "[SEP]",
]
MakeReader = Callable[..., EntityReader]


def bert_tokenizer() -> Tokenizer:
    """BERT's own way of cutting texts, with a small vocabulary."""
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, *PIECES])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bert_tokenizer().save(str(path))
    return path


@pytest.fixture(scope="module")
def make_reader(tokenizer_file: Path) -> MakeReader:
    def make(strategy: Strategy = "simple", overlap: int = OVERLAP, **more: Any) -> EntityReader:
        windows = WindowTokenizer(tokenizer_file, MAX_TOKENS, overlap)
        return EntityReader(windows, WordRule.read(tokenizer_file), LABELS, strategy, **more)

    return make


@pytest.fixture(scope="module")
def classifier() -> BertForTokenClassification:
    """A small BERT with random weights, large ones, so that its opinions differ from token to token."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(PIECES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=MAX_TOKENS,
        initializer_range=0.6,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    model = BertForTokenClassification(config)
    model.eval()
    return model


def texts(*rows: str | bytes) -> npt.NDArray[np.object_]:
    return np.array([[row.encode() if isinstance(row, str) else row] for row in rows], dtype=np.object_)


def answers(reader: EntityReader, *rows: str, logits: Any, wish: object = None) -> list[list[dict[str, Any]]]:
    entities = reader.read(texts(*rows), wish, logits)["entities"]
    assert entities.shape == (len(rows), 1)
    return [json.loads(row) for row in entities[:, 0]]


def one_label_a_token(*labels: str) -> Callable[[Sequence[Sequence[int]]], list[npt.NDArray[np.float32]]]:
    """Logits that give the tokens of every row these labels, in a matrix wider than the row."""

    def logits(rows: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        found = np.zeros((len(rows), MAX_TOKENS, len(LABELS)), dtype=np.float32)
        for index, label in enumerate(["O", *labels, *["O"] * (MAX_TOKENS - 1 - len(labels))]):
            found[:, index, LABELS.index(label)] = 9.0
        return list(found)

    return logits


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=40),
    separator=st.sampled_from([" ", "", "  "]),
    strategy=st.sampled_from(STRATEGIES),
)
@settings(max_examples=60, deadline=None)
def test_every_strategy_finds_what_transformers_finds(
    make_reader: MakeReader,
    classifier: BertForTokenClassification,
    words: list[str],
    separator: str,
    strategy: Strategy,
) -> None:
    text = separator.join(words)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bert_tokenizer(),
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=MAX_TOKENS,
    )
    # transformers refuses windows where tokens stay by themselves, and texts without a character.
    windows: dict[str, Any] = {"stride": OVERLAP} if strategy != "none" else {}
    assume(text and (windows or len(tokenizer.tokenize(text)) <= MAX_TOKENS - 2))
    reference = TokenClassificationPipeline(
        model=classifier, tokenizer=tokenizer, aggregation_strategy=strategy, device="cpu", **windows
    )

    def logits(rows: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        with torch.no_grad():
            return [classifier(torch.tensor([row])).logits[0].numpy() for row in rows]

    (found,) = answers(make_reader(), text, logits=logits, wish=strategy)
    wanted = reference(text)
    assert [(each["type"], each["start"], each["end"]) for each in found] == [
        (each.get("entity_group") or each["entity"], each["start"], each["end"]) for each in wanted
    ]
    assert [each["score"] for each in found] == pytest.approx([float(each["score"]) for each in wanted], abs=1e-5)
    assert all(each["text"] == text[each["start"] : each["end"]] for each in found)


def test_an_entity_has_its_place_in_the_text_as_it_was_sent(make_reader: MakeReader) -> None:
    logits = one_label_a_token("O", "B-person", "O", "B-place", "I-place")
    text = "🙂  ADA in 東京"
    assert answers(make_reader(), text, logits=logits) == [
        [
            {"type": "person", "score": pytest.approx(0.99951, abs=1e-4), "text": "ADA", "start": 3, "end": 6},
            {"type": "place", "score": pytest.approx(0.99951, abs=1e-4), "text": "東京", "start": 10, "end": 12},
        ]
    ]


def test_neighbours_of_one_type_are_two_where_the_second_begins_anew(make_reader: MakeReader) -> None:
    (found,) = answers(make_reader(), "ada ada", logits=one_label_a_token("B-person", "B-person"))
    assert [each["text"] for each in found] == ["ada", "ada"]


def test_a_word_is_one_entity_where_words_count_and_two_where_tokens_do(make_reader: MakeReader) -> None:
    logits = one_label_a_token("B-person", "B-place")
    assert [each["type"] for each in answers(make_reader(), "adalia", logits=logits)[0]] == ["person", "place"]
    assert [each["text"] for each in answers(make_reader("first"), "adalia", logits=logits)[0]] == ["adalia"]


def test_a_caller_may_wish_for_another_strategy(make_reader: MakeReader) -> None:
    logits = one_label_a_token("B-person", "I-person")
    (found,) = answers(make_reader(), "adalia", logits=logits, wish="none")
    assert [(each["type"], each["text"]) for each in found] == [("B-person", "ada"), ("I-person", "lia")]


def test_texts_keep_their_order_and_those_without_entities_have_an_empty_list(make_reader: MakeReader) -> None:
    found = answers(make_reader(), "", "ada", logits=one_label_a_token("B-person"))
    assert [[each["text"] for each in text] for text in found] == [[], ["ada"]]


def test_an_entity_that_one_window_cuts_is_whole_in_the_next() -> None:
    cut, whole = Entity("person", 0.99, 40, 43), Entity("person", 0.7, 40, 52)
    assert joined([[cut], [whole]]) == [whole]
    assert joined([[whole], [cut]]) == [whole]


def test_of_two_entities_at_one_place_the_surer_one_counts() -> None:
    person, place = Entity("person", 0.6, 4, 9), Entity("place", 0.7, 4, 9)
    assert joined([[person, Entity("date", 0.5, 20, 24)], [place]]) == [place, Entity("date", 0.5, 20, 24)]


def test_what_one_window_says_is_not_changed() -> None:
    twice = [Entity("person", 0.6, 4, 9), Entity("place", 0.7, 4, 9)]
    assert joined([twice]) == twice


def test_other_tokenizers_tell_words_by_the_spaces_between_them(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(path))
    rule = WordRule.read(path)
    assert not rule.continues("ada", "ada.", 0, 3)
    assert rule.continues(".", "ada.", 3, 4)
    assert not rule.continues("in", "ada in", 4, 6)
    assert not rule.continues("[UNK]", "ada.", 3, 4)


def test_what_the_vocabulary_lacks_begins_a_word_also_where_an_encoding_calls_it_by_its_text(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(Unigram([("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0)], unk_id=0))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.save(str(path))
    reader = EntityReader(WindowTokenizer(path, MAX_TOKENS, OVERLAP), WordRule.read(path), LABELS, "first")
    (found,) = answers(reader, "a東a", logits=one_label_a_token("O", "B-place", "B-person"))
    assert [(each["type"], each["text"]) for each in found] == [("place", "東a")]


@pytest.mark.parametrize("wish", ["most", "FIRST", 1, True, ""])
def test_a_strategy_that_there_is_not_is_refused_with_those_there_are(make_reader: MakeReader, wish: object) -> None:
    with pytest.raises(InvalidInput, match="must be one of none, simple, first, average, max"):
        answers(make_reader(), "ada", logits=one_label_a_token(), wish=wish)
    with pytest.raises(InvalidInput, match="aggregation_strategy"):
        strategy_named(wish)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has no rows"),
        (["ada", b"\xff"], r"`text`\[1\] is not UTF-8"),
        (["a" * 51], r"`text`\[0\] has 51 bytes, the limit is 50"),
        (["a" * 50] * 5, "more than 200 bytes together"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(make_reader: MakeReader, rows: list[str | bytes], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        make_reader(max_text_bytes=50).read(texts(*rows).reshape(-1, 1), None, one_label_a_token())


def test_logits_that_give_no_scores_are_the_models_fault(make_reader: MakeReader) -> None:
    with pytest.raises(WrongAnswer, match="NaN"):
        answers(make_reader(), "ada", logits=lambda rows: [np.full((3, len(LABELS)), np.nan, np.float32)])
    with pytest.raises(ModelConfigError, match="gives 2 logits"):
        answers(make_reader(), "ada", logits=lambda rows: [np.zeros((3, 2), np.float32)])


def test_a_model_may_name_its_strategy_but_only_one_that_there_is() -> None:
    assert STRATEGY.of(StepModel("ner", Path(), {"aggregation_strategy": "max"})) == "max"
    assert STRATEGY.of(StepModel("ner", Path(), {})) == "simple"
    with pytest.raises(ModelConfigError, match=r"model `ner`: .* must be one of none, simple, first, average, max"):
        STRATEGY.of(StepModel("ner", Path(), {"aggregation_strategy": "best"}))


def test_a_missing_or_broken_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="conch build"):
        WordRule.read(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelConfigError, match="is not a tokenizer"):
        WordRule.read(tmp_path / "tokenizer.json")
