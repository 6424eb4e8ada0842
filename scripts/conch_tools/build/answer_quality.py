"""How well questions are answered: SQuAD's token F1 on held-out questions, some of which have no answer."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conch_tools.build.quality import BATCH, Ask

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class HeldoutQuestion:
    """A question on a context and its answer, empty when there is none."""

    question: str
    context: str
    answer: str


@dataclass(frozen=True)
class AnswerF1:
    """`f1` over all questions, where silence is the right answer to some, and `f1_answerable` over the others."""

    questions: Sequence[HeldoutQuestion]

    def measure(self, ask: Ask) -> dict[str, float]:
        """Asks in batches; the pipeline may answer that there is no answer."""
        scores = []
        for start in range(0, len(self.questions), BATCH):
            batch = self.questions[start : start + BATCH]
            tensors = {name: _column([getattr(each, name) for each in batch]) for name in ("question", "context")}
            answers = [json.loads(row[0])[0]["text"] for row in ask(tensors)["answers"]]
            scores += [token_f1(got, each.answer) for got, each in zip(answers, batch, strict=True)]
        answerable = [score for score, each in zip(scores, self.questions, strict=True) if each.answer]
        return {"f1": float(np.mean(scores)), "f1_answerable": float(np.mean(answerable))}


def token_f1(answer: str, truth: str) -> float:
    """The harmonic mean of precision and recall of words, as SQuAD counts them: without case, punctuation and
    articles. An empty text agrees with an empty text only."""
    got, wanted = _words(answer), _words(truth)
    if not got or not wanted:
        return float(got == wanted)
    shared = sum((Counter(got) & Counter(wanted)).values())
    return 2 * shared / (len(got) + len(wanted))


def _words(text: str) -> list[str]:
    return _ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _column(texts: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    return np.array([text.encode() for text in texts], dtype=np.object_).reshape(-1, 1)
