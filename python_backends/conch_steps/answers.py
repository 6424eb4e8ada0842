"""Spans of a context that answer a question, with their places and scores: extractive question answering.

A context of any length becomes overlapping windows, each behind the question; the model gives every token of a window
two logits, for beginning and for ending an answer. What follows is the algorithm of Hugging Face's question-answering
pipeline (transformers 4; version 5 has dropped it), so answers and scores are comparable with it:

- begin and end have a probability each, among the context's tokens of their window and the first token, which stands
  for "no answer"; a span's score is the product, and it has at most `max_answer_tokens` tokens;
- a span is widened to whole words; equal texts, whatever their case, add their scores and keep the first one's place.
  The same text in several windows adds up as well, so a score may pass 1;
- the empty answer has the lowest score that any window gives it, because one window that holds an answer is enough.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS
from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.parameters import (
    REQUEST_PARAMETERS,
    SEGMENT_TENSORS,
    TOKEN_TENSORS,
    CalledModel,
    Declaration,
    named,
    wished_number,
)
from conch_steps.serving import StepRequest
from conch_steps.text_tokenizer import TOKENIZER_FILE
from conch_steps.texts import read_texts
from conch_steps.windows import MAX_TOKENS, OVERLAP, Window, WindowTokenizer

MAX_WINDOWS = 8192
"""Rows for the model that one request may become: it keeps everyone else waiting for so many."""
MAX_ANSWER_TOKENS = 15
TOP_K = 1
MOST_ANSWERS = 1000
"""The largest `top_k`: so many spans are kept of each window."""
SCORE_DIGITS = 8
MODEL = named("model", "the name of the model that gives logits")
DECLARED = Declaration(
    (MODEL, MAX_ROWS, MAX_TOKENS, OVERLAP),
    {TOKENIZER_FILE: WindowTokenizer.load},
    (CalledModel(MODEL, MAX_ROWS, {**TOKEN_TENSORS, **SEGMENT_TENSORS}, "logits"),),
    depends_on=(REQUEST_PARAMETERS,),
)

Logits = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], Sequence[npt.NDArray[np.float32]]]
"""The model: rows of token ids and of segments to logits [at least the row's length, 2], start and end, a row."""
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Wishes:
    """What a request may ask for."""

    top_k: int = TOP_K
    """Answers of each row, at most."""
    max_answer_tokens: int = MAX_ANSWER_TOKENS
    """Of the model's tokens; words have one or a few."""
    handle_impossible_answer: bool = True
    """Whether the empty answer competes."""

    @classmethod
    def of(cls, request: StepRequest) -> Wishes:
        """From the request's parameters. Raises InvalidInput."""
        given = request.parameters
        impossible = given.get("handle_impossible_answer", True)
        if not isinstance(impossible, bool):
            raise InvalidInput(f"parameter `handle_impossible_answer` is {impossible!r:.40}, but must be true or false")
        return cls(
            wished_number("top_k", given.get("top_k", TOP_K), MOST_ANSWERS),
            wished_number("max_answer_tokens", given.get("max_answer_tokens", MAX_ANSWER_TOKENS), MOST_ANSWERS),
            impossible,
        )


@dataclass
class Answer:
    """A span of the context, characters `start` to `end`; the empty text at 0 is "no answer"."""

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class Span:
    """First and last token of a window's candidate, and its score."""

    first: int
    last: int
    score: float


class AnswerFinder:
    """Answers requests with a tokenizer and a model that is asked for logits."""

    def __init__(self, tokenizer: WindowTokenizer, logits: Logits) -> None:
        self._tokenizer = tokenizer
        self._logits = logits

    def answer(self, request: StepRequest) -> dict[str, npt.NDArray[Any]]:
        """`answers` BYTES [n, 1] for `question` and `context`, BYTES [n, 1]: each a JSON list of answers, best first.

        Raises InvalidInput for what cannot be answered, WrongAnswer when the model gives no scores.
        """
        wishes = Wishes.of(request)
        questions, contexts = _texts(request, "question"), _texts(request, "context")
        if len(questions) != len(contexts):
            raise InvalidInput(
                f"`question` has {len(questions)} rows and `context` {len(contexts)}: send as many of each"
            )
        windows = self._tokenizer.pairs(questions, contexts, "question")
        if len(windows) > MAX_WINDOWS:
            raise InvalidInput(
                f"the contexts of this request make {len(windows)} windows for the model, the limit is {MAX_WINDOWS}: "
                "send it in several requests"
            )
        logits = self._logits([window.ids for window in windows], [window.segments for window in windows])
        mine: list[list[tuple[Window, npt.NDArray[np.float32]]]] = [[] for _ in contexts]
        for window, row in zip(windows, logits, strict=True):
            mine[window.owner].append((window, row[: len(window.ids)]))
        rows = [_as_json(best_answers(context, read, wishes)) for context, read in zip(contexts, mine, strict=True)]
        return {"answers": np.array(rows, dtype=np.object_).reshape(-1, 1)}


def best_answers(
    context: str, windows: Sequence[tuple[Window, npt.NDArray[np.float32]]], wishes: Wishes
) -> list[Answer]:
    """The best answers in a context, best first, from the logits [length, 2] of each of its windows."""
    found: dict[str, Answer] = {}
    no_answer = 1.0
    for window, logits in windows:
        start, end = (_probabilities(column, window) for column in logits.T)
        no_answer = min(no_answer, float(start[0] * end[0]))
        start[0] = end[0] = 0.0
        # Spans that become one by being widened to whole words make room for others.
        for span in _best_spans(start, end, 2 * wishes.top_k + 10, wishes.max_answer_tokens):
            begin, stop = _whole_words(window, span)
            text = context[begin:stop]
            answer = found.setdefault(text.lower(), Answer(text, 0.0, begin, stop))
            answer.score += span.score
    answers = list(found.values())
    # It stands alone where the tokenizer leaves nothing of the context, as of zero-width characters.
    if wishes.handle_impossible_answer or not answers:
        answers.append(Answer("", no_answer, 0, 0))
    return sorted(answers, key=lambda answer: answer.score, reverse=True)[: wishes.top_k]


def _probabilities(logits: npt.NDArray[np.float32], window: Window) -> Probabilities:
    """Softmax of one column over the first token and the context's tokens; 0 elsewhere."""
    allowed = np.array(window.in_text)
    allowed[0] = True
    if not np.isfinite(logits[allowed]).all():
        raise WrongAnswer("the model's logits give no scores (not finite): it overflowed, or its file is damaged")
    powers = np.zeros_like(logits)
    powers[allowed] = np.exp(logits[allowed] - logits[allowed].max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def _best_spans(start: Probabilities, end: Probabilities, count: int, longest: int) -> Iterator[Span]:
    """At most `count` spans of at most `longest` tokens with a score above zero, best first."""
    size = len(start)
    products = np.zeros((min(longest, size), size), dtype=start.dtype)
    for extra, row in enumerate(products):
        row[: size - extra] = start[: size - extra] * end[extra:]
    flat = products.reshape(-1)
    best = np.argpartition(-flat, count)[:count] if count < flat.size else np.arange(flat.size)
    for index in best[np.argsort(-flat[best], kind="stable")]:
        extra, first = divmod(int(index), size)
        if flat[index] > 0:
            yield Span(first, first + extra, float(flat[index]))


def _whole_words(window: Window, span: Span) -> tuple[int, int]:
    """The characters from the beginning of the first token's word to the end of the last token's."""
    encoding = window.encoding
    begin = _word(window, encoding.token_to_word(span.first)) or encoding.offsets[span.first]
    stop = _word(window, encoding.token_to_word(span.last)) or encoding.offsets[span.last]
    return begin[0], stop[1]


def _word(window: Window, word: int | None) -> tuple[int, int] | None:
    return None if word is None else window.encoding.word_to_chars(word, window.sequence)


def _as_json(answers: Sequence[Answer]) -> bytes:
    rounded = [{**vars(answer), "score": round(answer.score, SCORE_DIGITS)} for answer in answers]
    return json.dumps(rounded, ensure_ascii=False).encode()


def _texts(request: StepRequest, name: str) -> list[str]:
    texts = read_texts(request.tensor(name), name)
    for index, text in enumerate(texts):
        if not text.strip():
            raise InvalidInput(f"`{name}`[{index}] is empty: a question and its context are needed")
    return texts
