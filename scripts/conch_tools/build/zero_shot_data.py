"""Texts for zero-shot classification that we wrote and labelled: some to choose the template by, others to measure.

Each file has two sets of labels; a text is asked with all labels of its set. The two files share no text and no label,
so what was chosen on one says nothing by itself of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from conch_tools.build.quality import BATCH, Ask
from conch_tools.training import DATA

DATA_FOLDER = DATA / "zero_shot"


@dataclass(frozen=True)
class LabelledTexts:
    """Texts that share a set of labels."""

    texts: Sequence[str]
    truth: Sequence[str]
    """The right label of each text."""

    @property
    def labels(self) -> list[str]:
        """All labels of the set, in the order of their first text."""
        return list(dict.fromkeys(self.truth))


def labelled_texts(name: Literal["choice", "heldout"]) -> list[LabelledTexts]:
    """The sets of one file: lines of set, label and text."""
    lines = (DATA_FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    sets = [list(members) for _, members in groupby(rows, key=lambda row: row[0])]
    return [LabelledTexts([text for _, _, text in each], [label for _, label, _ in each]) for each in sets]


@dataclass(frozen=True)
class ZeroShotAccuracy:
    """The share of texts whose best label, of all labels of their set, is the true one: `accuracy`."""

    sets: Sequence[LabelledTexts]

    def measure(self, ask: Ask) -> dict[str, float]:
        """Asks in batches."""
        right = sum(_right(each, ask) for each in self.sets)
        return {"accuracy": right / sum(len(each.texts) for each in self.sets)}


def _right(one: LabelledTexts, ask: Ask) -> int:
    right = 0
    labels = [label.encode() for label in one.labels]
    for start in range(0, len(one.texts), BATCH):
        texts = [[text.encode()] for text in one.texts[start : start + BATCH]]
        answer = ask(
            {
                "text": np.array(texts, dtype=np.object_),
                "labels": np.array([labels] * len(texts), dtype=np.object_),
            }
        )
        truth = one.truth[start : start + BATCH]
        right += sum(str(got) == want for got, want in zip(answer["label"][:, 0], truth, strict=True))
    return right
