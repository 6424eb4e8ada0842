"""How many of the entities in held-out texts a served pipeline finds, and how much of what it finds is there."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from conch_tools.build.quality import BATCH, Ask

Span: TypeAlias = tuple[str, int, int]
"""Type, first character and the one after the last."""


@dataclass(frozen=True)
class EntityF1:
    """`f1`, `precision` and `recall` over all texts: an entity is right when its type and both its ends are."""

    texts: Sequence[str]
    entities: Sequence[Collection[Span]]
    """Of each text."""

    def measure(self, ask: Ask) -> dict[str, float]:
        """Asks in batches."""
        right = found = 0
        for start in range(0, len(self.texts), BATCH):
            batch = [[text.encode()] for text in self.texts[start : start + BATCH]]
            answers = ask({"text": np.array(batch, dtype=np.object_)})["entities"][:, 0]
            for answer, wanted in zip(answers, self.entities[start : start + BATCH], strict=True):
                spans = {(each["type"], each["start"], each["end"]) for each in json.loads(answer)}
                right += len(spans.intersection(wanted))
                found += len(spans)
        there = sum(map(len, self.entities))
        return {
            "f1": 2 * right / max(1, found + there),
            "precision": right / max(1, found),
            "recall": right / max(1, there),
        }
