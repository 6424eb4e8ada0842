"""Token F1 as SQuAD counts it, over questions of which some have no answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from conch_tools.build.answer_quality import AnswerF1, HeldoutQuestion, token_f1
from conch_tools.build.quality import Tensors


@pytest.mark.parametrize(
    ("answer", "truth", "f1"),
    [
        ("The copper roof.", "copper roof", 1.0),
        ("roof", "copper roof", 2 / 3),
        ("a red a red", "red", 2 / 3),
        ("roof", "door", 0.0),
        ("", "", 1.0),
        ("", "roof", 0.0),
        ("roof", "", 0.0),
    ],
)
def test_f1_counts_shared_words_without_case_punctuation_and_articles(answer: str, truth: str, f1: float) -> None:
    assert token_f1(answer, truth) == pytest.approx(f1)


def test_the_measure_tells_all_questions_from_those_with_an_answer() -> None:
    questions = [HeldoutQuestion("who", "Ada did", "Ada"), HeldoutQuestion("when", "Ada did", "")]

    def always_ada(tensors: Tensors) -> Tensors:
        assert [row[0] for row in tensors["question"]] == [b"who", b"when"]
        row = json.dumps([{"text": "Ada", "score": 1.0, "start": 0, "end": 3}])
        return {"answers": np.array([[row], [row]], dtype=np.object_)}

    assert AnswerF1(questions).measure(always_ada) == {"f1": 0.5, "f1_answerable": 1.0}
