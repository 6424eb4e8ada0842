"""Conch's own questions: enough, clean, apart from the held-out ones; and the committed adapter answers those."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conch_tools.build.answer_quality import token_f1
from conch_tools.build.question import reference_answer
from conch_tools.training import encoder_folder, qa

MAX_WEIGHTS_BYTES = 3_000_000
MAX_TOKENS, OVERLAP = 256, 64
Answering: TypeAlias = Callable[[str, str], str]
TESLA = "Tesla was founded by Martin Eberhard and Marc Tarpenning in July 2003. Elon Musk joined a year later."
NEIGHBOURS = "Noah presents the budget and Zoe presents the new logo."
EVERYDAY = [
    ("Who built it?", "Anna built it.", "Anna"),
    ("Who founded Tesla?", TESLA, "Martin Eberhard and Marc Tarpenning"),
    ("When was Tesla founded?", TESLA, "July 2003"),
    ("Who presents the budget?", NEIGHBOURS, "Noah"),
    ("Who presents the new logo?", NEIGHBOURS, "Zoe"),
]
"""None of them in the training data. Question, context and answer."""
QUESTIONS = qa.read_questions(qa.FOLDER / "paragraphs.txt")


@pytest.fixture(scope="module")
def answering() -> Answering:
    model = qa.load(encoder_folder())
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return lambda question, context: reference_answer(model, tokenizer, question, context, MAX_TOKENS, OVERLAP).text


def test_the_questions_are_enough_and_some_have_no_answer() -> None:
    assert len(QUESTIONS) >= 800
    assert 0.1 < sum(not each.answer for each in QUESTIONS) / len(QUESTIONS) < 0.25
    assert all(each.answer == each.answer.strip() for each in QUESTIONS)


def test_many_contexts_are_as_short_as_people_type_them() -> None:
    short = {each.context for each in QUESTIONS if len(each.context) <= qa.SHORT}
    assert len(short) >= 150


def test_no_held_out_paragraph_was_trained_on() -> None:
    held = {each.context.casefold() for each in qa.heldout()}
    assert len(held) >= 50
    assert not held & {each.context.casefold() for each in QUESTIONS}


def test_an_excerpt_shows_a_few_sentences_and_says_where_the_answer_stands() -> None:
    whole = {(each.question, each.answer) for each in QUESTIONS[:200]}
    shown = list(qa.excerpts(QUESTIONS[:200], rounds=2))
    contexts = [each.context for each in QUESTIONS[:200]]
    assert shown == list(qa.excerpts(QUESTIONS[:200], rounds=2))
    assert all(any(each.context in context for context in contexts) for each in shown)
    assert all((each.question, each.answer) in whole for each in shown if each.answer)
    answerable = {each.question for each in QUESTIONS[:200] if each.answer}
    assert any(not each.answer and each.question in answerable for each in shown)


def test_the_committed_adapter_is_small() -> None:
    assert qa.ADAPTER.stat().st_size <= MAX_WEIGHTS_BYTES


@pytest.mark.parametrize(("question", "context", "answer"), EVERYDAY)
def test_the_committed_adapter_answers_everyday_questions_on_a_sentence_or_two(
    answering: Answering, question: str, context: str, answer: str
) -> None:
    assert answering(question, context) == answer


def test_the_committed_adapter_answers_held_out_questions(answering: Answering) -> None:
    some = qa.heldout()[::5]
    f1 = [token_f1(answering(each.question, each.context), each.answer) for each in some]
    assert sum(f1) / len(f1) >= 0.55
