"""Conch's own entities: sentences and their marks, and a committed adapter that a classifier loads."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, TokenClassificationPipeline

from conch_tools.training import encoder_folder, ner
from conch_tools.training.adapter import Recipe
from conch_tools.training.ner import IGNORED, Mention, Sentence, labels, parsed, token_labels, variants

MAX_ADAPTER_BYTES = 3_000_000


@pytest.fixture(scope="module")
def encoder() -> Path:
    return encoder_folder()


@pytest.fixture(scope="module")
def sentences() -> list[Sentence]:
    return ner.read_sentences(ner.FOLDER / "sentences.txt")


@pytest.fixture(scope="module")
def pipeline(encoder: Path) -> TokenClassificationPipeline:
    return TokenClassificationPipeline(
        model=ner.load(encoder),
        tokenizer=AutoTokenizer.from_pretrained(encoder),
        aggregation_strategy="first",
        device="cpu",
    )


def spans(pipeline: TokenClassificationPipeline, sentence: Sentence) -> set[tuple[str, int, int]]:
    answer: list[dict[str, Any]] = [dict(each) for each in pipeline(sentence.text)]
    return {(each["entity_group"], each["start"], each["end"]) for each in answer}


def mentioned(sentences: list[Sentence]) -> set[tuple[str, str]]:
    return {(each.type, one.text[each.start : each.end]) for one in sentences for each in one.mentions}


def test_marks_are_taken_out_of_a_line_and_their_places_kept() -> None:
    sentence = parsed("[Aïcha](person) saw 東京 in [Oslo](place).")
    assert sentence.text == "Aïcha saw 東京 in Oslo."
    assert sentence.mentions == [Mention("person", 0, 5), Mention("place", 16, 20)]


def test_a_line_without_marks_is_a_sentence_without_mentions() -> None:
    assert parsed("The Committee met (again).") == Sentence("The Committee met (again).", [])


def test_every_piece_of_an_entity_has_its_label_and_only_the_first_begins_it() -> None:
    sentence = parsed("[Mensah](person) left")
    offsets = [(0, 0), (0, 3), (3, 6), (7, 11), (0, 0)]
    found = token_labels(sentence, offsets)
    assert found == [IGNORED, labels.index("B-person"), labels.index("I-person"), labels.index("O"), IGNORED]


def test_a_token_that_begins_before_its_entity_begins_it_all_the_same() -> None:
    sentence = parsed("🔥[Dua Lipa](person)🔥 again")
    offsets = [(0, 4), (5, 10), (11, 16)]
    assert token_labels(sentence, offsets) == [labels.index("B-person"), labels.index("I-person"), labels.index("O")]


def test_the_sentences_are_enough_and_apart_from_the_held_out_ones(sentences: list[Sentence]) -> None:
    held = ner.heldout()
    texts = [each.text.casefold() for each in sentences]
    assert len(sentences) >= 800 and len(held) >= 200
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {each.text.casefold() for each in held}


def test_every_mention_has_a_known_type_and_overlaps_no_other(sentences: list[Sentence]) -> None:
    for sentence in (*sentences, *ner.heldout()):
        assert {mention.type for mention in sentence.mentions} <= set(ner.TYPES)
        assert all(first.end <= second.start for first, second in pairwise(sentence.mentions))
        assert "](" not in sentence.text


def test_variants_have_mentions_of_the_same_types_in_the_same_order(sentences: list[Sentence]) -> None:
    some = [each for each in sentences[:50] if each.mentions]
    found = variants(some)
    assert len(found) == ner.VARIANTS * len(some)
    assert variants(some) == found
    for index, variant in enumerate(found):
        source = some[index // ner.VARIANTS]
        assert [each.type for each in variant.mentions] == [each.type for each in source.mentions]
    known, shown = mentioned(some), mentioned(found)
    invented = {(kind, name) for kind, name in shown - known if kind == "person"}
    assert shown - known == invented


def test_an_invented_person_has_the_given_name_of_one_and_the_family_name_of_another() -> None:
    some = [parsed("[Ada King Lovelace](person) met [Grace Hopper](person)."), parsed("[Emmy](person) did not.")]
    invented = mentioned(variants(some * 20)) - mentioned(some)
    assert ("person", "Grace King Lovelace") in invented
    assert ("person", "Ada Emmy") in invented
    for _, name in invented:
        given, family = name.split(" ", 1)
        assert given in {"Ada", "Grace", "Emmy"} and family in {"King Lovelace", "Hopper", "Emmy"}


def test_the_committed_adapter_is_small() -> None:
    assert ner.ADAPTER.stat().st_size <= MAX_ADAPTER_BYTES


@pytest.mark.parametrize(
    "line",
    [
        "[Tom Hanks](person) flew to [Rome](place) on [5 June](date).",
        "[Lady Gaga](person) wore a hat made of ham.",
        "[Hans Dieter Pötsch](person) chairs the board of [Volkswagen](organisation).",
        "[Paris Hilton](person) opened a shop in [Dubai](place).",
        "🙂 [Anna](person) is here",
    ],
)
def test_the_committed_adapter_finds_whole_names_that_it_never_saw(
    pipeline: TokenClassificationPipeline, line: str
) -> None:
    sentence = parsed(line)
    assert spans(pipeline, sentence) == {(each.type, each.start, each.end) for each in sentence.mentions}


def test_the_committed_adapter_finds_entities_in_held_out_sentences(pipeline: TokenClassificationPipeline) -> None:
    right = found = there = 0
    for sentence in ner.heldout():
        wanted = {(mention.type, mention.start, mention.end) for mention in sentence.mentions}
        answer = spans(pipeline, sentence)
        right, found, there = right + len(wanted & answer), found + len(answer), there + len(wanted)
    assert 2 * right / (found + there) >= 0.80


def test_a_brief_training_from_the_same_recipe_learns(encoder: Path, sentences: list[Sentence]) -> None:
    model = ner.fit_sentences(encoder, sentences[:300], Recipe(tokens=30_000), lambda line: None)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    right = total = 0
    for sentence in ner.heldout()[:60]:
        encoded = tokenizer(sentence.text, return_offsets_mapping=True, return_tensors="pt")
        wanted = torch.tensor(token_labels(sentence, encoded["offset_mapping"][0].tolist()))
        with torch.no_grad():
            best = model(encoded["input_ids"], encoded["attention_mask"])[0].argmax(dim=1)
        inside = wanted > 0
        right += int((best[inside] == wanted[inside]).sum())
        total += int(inside.sum())
    assert right / total > 0.2
