"""What a build is compared with: a corpus, and what each step must make of it according to the reference library.

The reference runs once, in the process that builds the pipeline; its answers travel as plain arrays to the process that
asks the server, so that one needs neither torch nor the model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = Sequence[npt.NDArray[Any]]
"""One array a corpus item, without a batch dimension."""

Item = Mapping[str, npt.NDArray[Any]]
"""What is asked: public input tensors by name, without a batch dimension."""

CORPUS_SIZE = 48
LONGEST_WORDS = 400


@dataclass(frozen=True)
class StepAnswers:
    """What one step must answer for every corpus item."""

    model: str
    outputs: Mapping[str, Rows]


@dataclass(frozen=True)
class Reference:
    """The corpus and the answers of the pipeline's steps, in their order."""

    library: str
    """Whose answers they are, for the report: `sentence-transformers`."""
    items: Sequence[Item]
    steps: Sequence[StepAnswers]
    tolerance: float
    """Largest absolute difference that a number may have."""

    @property
    def answers(self) -> Mapping[str, Rows]:
        """The last step's answers, which are the pipeline's."""
        return self.steps[-1].outputs


def byte_item(**values: str | bytes | Sequence[str]) -> Item:
    """An item of BYTES tensors: one value is a tensor [1], several are [k]."""
    return {name: _bytes_of([value] if isinstance(value, str | bytes) else value) for name, value in values.items()}


def _bytes_of(values: Sequence[str | bytes]) -> npt.NDArray[np.object_]:
    return np.array([each.encode() if isinstance(each, str) else each for each in values], dtype=np.object_)


def texts_of(item: Item, tensor: str) -> list[str]:
    """The texts of one of an item's BYTES tensors."""
    return [raw.decode() for raw in item[tensor]]


def text_items(texts: Sequence[str]) -> list[Item]:
    """Items of pipelines that take one `text`."""
    return [byte_item(text=text) for text in texts]


def json_row(value: object) -> npt.NDArray[np.object_]:
    """A structured answer as the BYTES [1] tensor that carries it."""
    return np.array([json.dumps(value, ensure_ascii=False).encode()], dtype=np.object_)


def mixed_texts(seeds: Sequence[str], count: int = CORPUS_SIZE) -> list[str]:
    """Texts of 0 to 400 words made of the words of `seeds`, and what breaks tokenizers; the same for the same seeds."""
    words = " ".join(seeds).split()
    awkward = [
        "",
        "?",
        "naïve café — 東京 🙂🙂",
        "A\u0301 e\u0301",
        "שלום עולם",
        "x" * 400,
        "\n\t tab and newline \r\n",
        *seeds,
    ]
    chance = random.Random(len(words))
    lengths = [min(LONGEST_WORDS, int(chance.paretovariate(0.8) * 4)) for _ in range(max(0, count - len(awkward)))]
    return [*awkward, *(" ".join(chance.choices(words, k=length)) for length in lengths)]
