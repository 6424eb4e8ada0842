"""Masks are filled with the likeliest tokens, each mask for itself, and shown as transformers shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.mask_filler import MAX_MASKS, MaskFiller, MaskTokens
from conch_steps.serving import StepModel, StepRequest

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, "the", "ship", "##s", "sails", ".", "שלום", "🙂"])}
MASK = VOCABULARY["[MASK]"]
MAX_TOKENS = 8
Ask = Callable[..., list[Any]]


@pytest.fixture
def model(tmp_path: Path) -> StepModel:
    tokenizer = Tokenizer(WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(each, VOCABULARY[each]) for each in ("[CLS]", "[SEP]")]
    )
    tokenizer.decoder = WordPieceDecoder(cleanup=False)
    tokenizer.add_special_tokens(SPECIAL)
    # What is in the file for other uses does not cut or fill up a text.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "mask.json").write_text(json.dumps({"mask": MASK, "padding": 0, "cleans_up": True}))
    return StepModel("stars_fills", tmp_path, {"max_tokens": str(MAX_TOKENS), "model": "stars_model"})


def likes(*words: str) -> Callable[..., list[npt.NDArray[np.float32]]]:
    """A model that finds these words likely, the first the most, one place later for each mask further on in a row."""

    def logits(rows: Sequence[Sequence[int]], asked: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        answers = []
        for ids, marks in zip(rows, asked, strict=True):
            (place,) = [place for place, mark in enumerate(marks) if mark]
            assert ids[place] == MASK and len(ids) == len(marks)
            turn = list(ids[:place]).count(MASK)
            row = np.zeros(len(VOCABULARY), dtype=np.float32)
            for rank, word in enumerate((*words[turn:], *words[:turn])):
                row[VOCABULARY[word]] = 9 - rank
            answers.append(row)
        return answers

    return logits


@pytest.fixture
def ask(model: StepModel, make_request: Any) -> Ask:
    def asked(texts: Sequence[str], logits: Any, **parameters: Any) -> list[Any]:
        tensor = np.array([[text.encode()] for text in texts], dtype=np.object_)
        request = StepRequest(make_request({"text": tensor}, parameters=parameters))
        fills = MaskFiller(model, logits).fill(request)["fills"]
        assert fills.shape == (len(texts), 1)
        return [json.loads(row) for row in fills[:, 0]]

    return asked


def test_the_likeliest_tokens_come_first_with_the_text_they_make(ask: Ask) -> None:
    (fills,) = ask(["the [MASK] sails ."], likes("ship", "🙂"), top_k=2)
    assert [(each["token"], each["text"]) for each in fills] == [
        ("ship", "the ship sails."),
        ("🙂", "the 🙂 sails."),
    ]
    everything = np.exp([9.0, 8.0]).sum() + len(VOCABULARY) - 2
    assert [each["score"] for each in fills] == pytest.approx(np.exp([9.0, 8.0]) / everything, abs=1e-6)


def test_five_are_named_unless_the_request_says_otherwise(ask: Ask) -> None:
    texts, model = ["the [MASK]"], likes("ship")
    assert [len(ask(texts, model)[0]), len(ask(texts, model, top_k=1)[0])] == [5, 1]
    assert len(ask(texts, model, top_k=100)[0]) == len(VOCABULARY)


def test_a_piece_joins_the_word_before_it(ask: Ask) -> None:
    (fills,) = ask(["ship [MASK]"], likes("##s"), top_k=1)
    assert (fills[0]["token"], fills[0]["text"]) == ("##s", "ships")


def test_padding_is_no_part_of_a_text(ask: Ask) -> None:
    (fills,) = ask(["the [MASK]"], likes("[PAD]"), top_k=1)
    assert fills[0]["text"] == "the"


def test_each_of_several_masks_has_a_list_of_its_own_in_which_the_others_are_still_seen(ask: Ask) -> None:
    alone, both = ask(["the [MASK]", "[MASK] [MASK]"], likes("the", "ship"), top_k=1)
    assert alone[0]["text"] == "the the"
    assert [fills[0]["text"] for fills in both] == ["[CLS] the [MASK] [SEP]", "[CLS] [MASK] ship [SEP]"]


@pytest.mark.parametrize(
    ("texts", "parameters", "said"),
    [
        (["the [MASK]", "the ship"], {}, r"`text`\[1\] has no \[MASK\]: write it where a word is missing"),
        (["the [MASK]" + " the" * 6], {}, r"`text`\[0\] has 10 tokens, the limit is 8: shorten it"),
        (["[MASK] " * 6] * 43, {}, f"have 258 masks, the limit is {MAX_MASKS}"),
        (["[MASK]"], {"top_k": 0}, "parameter `top_k` is 0, but must be a whole number from 1 to 100"),
        (["[MASK]"], {"top_k": 101}, "parameter `top_k` is 101"),
        (["[MASK]"], {"top_k": True}, "parameter `top_k` is True"),
    ],
)
def test_what_cannot_be_filled_is_refused_by_name(
    ask: Ask, texts: list[str], parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        ask(texts, likes("ship"), **parameters)


def test_logits_that_are_no_numbers_are_no_answer(ask: Ask) -> None:
    with pytest.raises(WrongAnswer, match="NaN"):
        ask(["[MASK]"], lambda rows, asked: [np.full(len(VOCABULARY), np.nan, dtype=np.float32) for _ in rows])


def test_what_the_tokenizer_does_not_say_must_lie_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "mask.json"
    with pytest.raises(ArtifactError, match=r"mask.json is missing: run `conch build`"):
        MaskTokens.read(file)
    file.write_text('{"mask": 1}')
    with pytest.raises(ModelConfigError, match="must be a JSON object with mask, padding and cleans_up"):
        MaskTokens.read(file)
