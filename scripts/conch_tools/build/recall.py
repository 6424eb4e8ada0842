"""How good a search is: the share of what a fair judge wants that is among the first five answers.

A judgement is a line of relevance.jsonl: a `query`, an `item` or what was `liked`, the ids that are `relevant`, and its
`kind`. The items were judged by reading, without a model.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conch_tools.build.quality import BATCH, Ask

FIRST = 5


@dataclass(frozen=True)
class Judgement:
    """A question and the ids that answer it."""

    kind: str
    question: Mapping[str, Any]
    relevant: frozenset[str]

    def recall(self, found: Sequence[str]) -> float:
        """The share of the relevant that was found; of more than five, of the five that there is room for."""
        return len(self.relevant.intersection(found[:FIRST])) / min(FIRST, len(self.relevant))


@dataclass(frozen=True)
class Recall:
    """Mean recall at five by kind: `recall_query`, `recall_like`, `recall_liked`."""

    judgements: Sequence[Judgement]

    def measure(self, ask: Ask) -> dict[str, float]:
        """Asks in batches."""
        recalls: dict[str, list[float]] = defaultdict(list)
        for start in range(0, len(self.judgements), BATCH):
            batch = self.judgements[start : start + BATCH]
            questions = [json.dumps({**each.question, "k": FIRST}).encode() for each in batch]
            answers = ask({"query": np.array(questions, dtype=np.object_).reshape(-1, 1)})["results"][:, 0]
            for judgement, answer in zip(batch, answers, strict=True):
                found = [hit["id"] for hit in json.loads(answer)]
                recalls[f"recall_{judgement.kind}"].append(judgement.recall(found))
        return {name: sum(values) / len(values) for name, values in recalls.items()}


def read_judgements(file: Path) -> list[Judgement]:
    """One judgement a line."""
    return [_judgement(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _judgement(line: Mapping[str, Any]) -> Judgement:
    question = {"text" if name == "query" else name: line[name] for name in ("query", "item", "liked") if name in line}
    return Judgement(line["kind"], question, frozenset(line["relevant"]))
