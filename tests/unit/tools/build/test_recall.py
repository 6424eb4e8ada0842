"""Recall at five, and the judgements it is measured by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conch_steps.catalogue_seed import read_items
from conch_tools.build.recall import Judgement, Recall, read_judgements
from conch_tools.settings import Settings

CATALOGUE = Settings().repository / "search"


def judgement(*relevant: str, kind: str = "query") -> Judgement:
    return Judgement(kind, {"text": "socks"}, frozenset(relevant))


@pytest.mark.parametrize(
    ("relevant", "recall"),
    [("a", 1.0), ("z", 0.0), ("ae", 1.0), ("af", 0.5), ("abz", 2 / 3), ("abcdefg", 1.0), ("abcxyz", 3 / 5)],
)
def test_recall_is_the_share_of_what_could_be_among_the_first_five(relevant: str, recall: float) -> None:
    assert judgement(*relevant).recall(list("abcdef")) == pytest.approx(recall)


def test_each_kind_is_measured_by_itself_in_batches() -> None:
    def ask(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        sizes.append(len(tensors["query"]))
        assert all(json.loads(raw) == {"text": "socks", "k": 5} for (raw,) in tensors["query"])
        hits = json.dumps([{"id": "a"}, {"id": "b"}])
        return {"results": np.array([[hits]] * len(tensors["query"]), dtype=np.object_)}

    sizes: list[int] = []
    judgements = [*[judgement("a")] * 39, judgement("z"), judgement("a", "z", kind="like")]
    assert Recall(judgements).measure(ask) == pytest.approx({"recall_query": 39 / 40, "recall_like": 0.5})
    assert sizes == [32, 9]


def test_a_line_is_a_question_of_its_kind(tmp_path: Path) -> None:
    file = tmp_path / "relevance.jsonl"
    lines: list[dict[str, Any]] = [
        {"query": "socks", "relevant": ["a"], "kind": "query"},
        {"item": "b", "relevant": ["a"], "kind": "like"},
        {"liked": ["b", "c"], "relevant": ["a"], "kind": "liked"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    questions = [each.question for each in read_judgements(file)]
    assert questions == [
        {"text": "socks"},
        {"item": "b"},
        {"liked": ["b", "c"]},
    ]


def test_the_catalogue_is_sound_and_every_judgement_speaks_of_its_items() -> None:
    items = {item.id for item in read_items(CATALOGUE / "catalogue.jsonl")}
    judgements = read_judgements(CATALOGUE / "relevance.jsonl")
    assert len(items) >= 300
    for each in judgements:
        named = {each.question.get("item"), *each.question.get("liked", ())} - {None}
        assert each.relevant
        assert each.relevant | named <= items
        assert not each.relevant & named
