"""Texts to vectors by the pipeline that embeds, in calls of as many texts as it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS, like_length_chunks
from conch_steps.parameters import CalledModel, named
from conch_steps.serving import require_time

Vector: TypeAlias = npt.NDArray[np.float32]
Call: TypeAlias = Callable[[Mapping[str, npt.NDArray[Any]], Sequence[str]], Mapping[str, npt.NDArray[Any]]]
"""A model: tensors by name and the outputs wanted, to the outputs."""

TEXT, EMBEDDING = "text", "embedding"
"""Input and output of a pipeline that embeds."""
MODEL = named("model", "the name of the pipeline that embeds")
CALL = CalledModel(MODEL, MAX_ROWS, {TEXT: "TYPE_STRING"}, EMBEDDING)
BYTES_A_CHUNK = 512 * 1024
"""Of text, padded to the longest of its chunk: well below what the embedding pipeline takes in one request."""


class TextEmbedder:
    """Embeds each text once, however often it is asked for."""

    def __init__(self, call: Call, max_rows: int) -> None:
        self._call = call
        self._max_rows = max_rows

    def __call__(self, texts: Sequence[str]) -> dict[str, Vector]:
        """A vector [dimensions] for each text. Raises what the call raises, and OutOfTime."""
        distinct = list(dict.fromkeys(texts))
        raw = [text.encode() for text in distinct]
        vectors: dict[str, Vector] = {}
        for chunk in like_length_chunks([len(each) for each in raw], self._max_rows, BYTES_A_CHUNK):
            require_time()
            rows = np.array([[raw[index]] for index in chunk], dtype=np.object_)
            answers = self._call({TEXT: rows}, [EMBEDDING])[EMBEDDING]
            vectors.update(zip((distinct[index] for index in chunk), answers, strict=True))
        return vectors
