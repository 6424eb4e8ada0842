"""Conch's own questions: enough, clean, apart from the held-out ones; and the committed adapter answers those."""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conch_tools.build.answer_quality import token_f1
from conch_tools.build.question import reference_answer
from conch_tools.training import encoder_folder, qa

MAX_WEIGHTS_BYTES = 3_000_000
MAX_TOKENS, OVERLAP = 256, 64
QUESTIONS = qa.read_questions(qa.FOLDER / "paragraphs.txt")


def test_the_questions_are_enough_and_some_have_no_answer() -> None:
    assert len(QUESTIONS) >= 800
    assert 0.1 < sum(not each.answer for each in QUESTIONS) / len(QUESTIONS) < 0.25
    assert all(each.answer == each.answer.strip() for each in QUESTIONS)


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


def test_the_committed_adapter_answers_held_out_questions() -> None:
    torch.manual_seed(0)
    model = qa.load(encoder_folder())
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    some = qa.heldout()[::5]
    answers = [reference_answer(model, tokenizer, each.question, each.context, MAX_TOKENS, OVERLAP) for each in some]
    f1 = [token_f1(answer.text, each.answer) for answer, each in zip(answers, some, strict=True)]
    assert sum(f1) / len(f1) >= 0.55
