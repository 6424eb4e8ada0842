"""Texts are embedded once each, in calls that the model allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.text_embedder import TextEmbedder


class Lengths:
    """A model that answers a text's length, and remembers how many rows each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, tensors: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        assert outputs == ["embedding"]
        texts = tensors["text"]
        self.calls.append(len(texts))
        return {"embedding": np.array([[len(raw)] for (raw,) in texts], dtype=np.float32)}


def test_each_text_gets_its_own_vector_in_calls_of_at_most_so_many() -> None:
    model = Lengths()
    vectors = TextEmbedder(model, 3)([("x" * number) for number in range(1, 8)])
    assert {text: float(vector[0]) for text, vector in vectors.items()} == {"x" * n: n for n in range(1, 8)}
    assert model.calls == [3, 3, 1]


def test_a_text_that_is_asked_for_twice_is_embedded_once() -> None:
    model = Lengths()
    TextEmbedder(model, 3)(["é", "b", "é"])
    assert model.calls == [2]


def test_no_text_is_no_call() -> None:
    model = Lengths()
    assert TextEmbedder(model, 3)([]) == {}
    assert model.calls == []
