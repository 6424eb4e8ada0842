"""Spans of a context answer a question: the best one by its two logits, in any of its windows, or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from conch_steps.answers import Answer, AnswerFinder, Wishes, best_answers
from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.serving import StepRequest
from conch_steps.windows import WindowTokenizer

VOCABULARY = {
    word: number
    for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "who", "x", "Ada", "##line", "love", "שלום", "🙂", "ada"])
}
MAX_TOKENS, OVERLAP = 10, 3
Row = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer(WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


class Model:
    """Likes some tokens as first or last of an answer: 5 for these, 0 for the rest; [CLS] as said."""

    def __init__(self, first: str, last: str, silence: float = 0.0) -> None:
        self.first, self.last, self.silence = VOCABULARY[first], VOCABULARY[last], silence

    def __call__(self, rows: Sequence[Sequence[int]], segments: Sequence[Sequence[int]]) -> list[Row]:
        assert [len(row) for row in rows] == [len(each) for each in segments]
        # A batch is as wide as its longest row, and what stands behind a row's end means nothing.
        return [self._logits([*row, *[self.first] * (MAX_TOKENS - len(row))]) for row in rows]

    def _logits(self, row: Sequence[int]) -> Row:
        liked = [[5.0 * (token == self.first), 5.0 * (token == self.last)] for token in row]
        liked[0] = [self.silence, self.silence]
        return np.array(liked, dtype=np.float32)


def ask(
    tokenizer_file: Path, model: Any, make_request: Any, contexts: Sequence[str], **parameters: Any
) -> list[list[dict[str, Any]]]:
    finder = AnswerFinder(WindowTokenizer(tokenizer_file, MAX_TOKENS, OVERLAP), model)
    tensors = {
        "question": np.array([[b"who"]] * len(contexts), dtype=np.object_),
        "context": np.array([[context.encode()] for context in contexts], dtype=np.object_),
    }
    answers = finder.answer(StepRequest(make_request(tensors, parameters=parameters)))["answers"]
    assert answers.shape == (len(contexts), 1)
    return [json.loads(row) for row in answers[:, 0]]


def test_the_answer_is_the_likeliest_span_with_its_place(tokenizer_file: Path, make_request: Any) -> None:
    (answers,) = ask(tokenizer_file, Model("Ada", "love"), make_request, ["x Ada love x"])
    assert [(each["text"], each["start"], each["end"]) for each in answers] == [("Ada love", 2, 10)]
    # Five tokens compete, [CLS] among them.
    assert answers[0]["score"] == pytest.approx((np.exp(5) / (np.exp(5) + 4)) ** 2, abs=1e-6)


def test_places_count_characters_whatever_their_width(tokenizer_file: Path, make_request: Any) -> None:
    context = "🙂 שלום Ada love"
    (answers,) = ask(tokenizer_file, Model("שלום", "Ada"), make_request, [context])
    assert context[answers[0]["start"] : answers[0]["end"]] == answers[0]["text"] == "שלום Ada"


def test_an_answer_is_whole_words(tokenizer_file: Path, make_request: Any) -> None:
    (answers,) = ask(tokenizer_file, Model("##line", "##line"), make_request, ["x Adaline x"])
    assert (answers[0]["text"], answers[0]["start"], answers[0]["end"]) == ("Adaline", 2, 9)


def test_an_answer_is_found_in_any_window_and_silence_in_the_others_does_not_win(
    tokenizer_file: Path, make_request: Any
) -> None:
    context = "x " * 20 + "Ada love" + " x" * 20
    (answers,) = ask(tokenizer_file, Model("Ada", "love", silence=3.0), make_request, [context])
    assert (answers[0]["text"], answers[0]["start"]) == ("Ada love", 40)


def test_a_context_without_an_answer_gives_an_empty_one(tokenizer_file: Path, make_request: Any) -> None:
    model = Model("Ada", "love", silence=3.0)
    (silent,) = ask(tokenizer_file, model, make_request, ["x x x"])
    assert (silent[0]["text"], silent[0]["start"], silent[0]["end"]) == ("", 0, 0)
    (forced,) = ask(tokenizer_file, model, make_request, ["x x x"], handle_impossible_answer=False)
    assert forced[0]["text"].startswith("x")


def test_where_no_token_is_left_to_read_the_answer_is_empty_even_when_one_is_forced() -> None:
    assert best_answers("\u200b", [], Wishes(handle_impossible_answer=False)) == [Answer("", 1.0, 0, 0)]


def test_equal_texts_add_their_scores_and_keep_the_first_place(tokenizer_file: Path, make_request: Any) -> None:
    (answers,) = ask(tokenizer_file, Model("x", "x"), make_request, ["x x"], max_answer_tokens=1, top_k=9)
    share = np.exp(5) / (2 * np.exp(5) + 1)
    assert [(each["text"], each["start"]) for each in answers] == [("x", 0), ("", 0)]
    assert answers[0]["score"] == pytest.approx(2 * share**2, abs=1e-6)


def test_top_k_limits_the_answers_best_first(tokenizer_file: Path, make_request: Any) -> None:
    (answers,) = ask(tokenizer_file, Model("Ada", "love"), make_request, ["x Ada love"], top_k=3)
    scores = [each["score"] for each in answers]
    assert len(answers) == 3 and scores == sorted(scores, reverse=True)


def test_an_answer_has_no_more_tokens_than_allowed(tokenizer_file: Path, make_request: Any) -> None:
    (answers,) = ask(tokenizer_file, Model("Ada", "love"), make_request, ["Ada x x love"], max_answer_tokens=2)
    assert answers[0]["text"] != "Ada x x love" and len(answers[0]["text"].split()) <= 2


def test_every_row_has_its_own_answers_in_order(tokenizer_file: Path, make_request: Any) -> None:
    contexts = ["Ada love", "x " * 30, "x " * 30 + "Ada x love"]
    together = ask(tokenizer_file, Model("Ada", "love", 3.0), make_request, contexts)
    alone = [ask(tokenizer_file, Model("Ada", "love", 3.0), make_request, [context])[0] for context in contexts]
    assert together == alone
    assert [row[0]["text"] for row in together] == ["Ada love", "", "Ada x love"]


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"top_k": 0}, "`top_k` is 0, but must be a whole number from 1"),
        ({"top_k": True}, "`top_k` is True"),
        ({"top_k": "2"}, "`top_k` is '2'"),
        ({"max_answer_tokens": 1.5}, r"`max_answer_tokens` is 1\.5"),
        ({"handle_impossible_answer": "no"}, "`handle_impossible_answer` is 'no', but must be true or false"),
    ],
)
def test_impossible_wishes_are_refused_by_name(
    tokenizer_file: Path, make_request: Any, parameters: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        ask(tokenizer_file, Model("x", "x"), make_request, ["x"], **parameters)


@pytest.mark.parametrize(
    ("question", "context", "problem"),
    [
        (b"who", b" ", r"`context`\[0\] is empty"),
        (b"", b"x", r"`question`\[0\] is empty"),
        (b"who", b"\xff", r"`context`\[0\] is not UTF-8"),
        (b"who " * 40, b"x", r"`question`\[0\] has 40 tokens"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    tokenizer_file: Path, make_request: Any, question: bytes, context: bytes, problem: str
) -> None:
    tensors = {"question": np.array([[question]], dtype=object), "context": np.array([[context]], dtype=object)}
    finder = AnswerFinder(WindowTokenizer(tokenizer_file, MAX_TOKENS, OVERLAP), Model("x", "x"))
    with pytest.raises(InvalidInput, match=problem):
        finder.answer(StepRequest(make_request(tensors)))


def test_logits_that_give_no_scores_are_the_models_fault(tokenizer_file: Path, make_request: Any) -> None:
    with pytest.raises(WrongAnswer, match="give no scores"):
        ask(tokenizer_file, Model("x", "x", silence=float("nan")), make_request, ["x"])
