"""Text to token ids, in the ragged form that lets texts of any lengths share a batch.

Triton's dynamic batcher joins only requests of equal shapes, so padded text hardly batches. A ragged input may differ
in length from request to request; the graph behind it restores rows from `input_ids`, `length` and `span` (see
conch_tools.build.ragged).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from conch_steps.errors import ArtifactError, ModelConfigError
from conch_steps.parameters import Declaration
from conch_steps.serving import StepModel
from conch_steps.texts import MAX_TEXT_BYTES, TEXT_BYTES, read_texts

TOKENIZER_FILE = "tokenizer.json"


class TextTokenizer:
    """Encodes texts with the truncation and special tokens that its tokenizer.json asks for."""

    def __init__(self, tokenizer_file: Path, max_text_bytes: int = MAX_TEXT_BYTES) -> None:
        self._tokenizer = read_tokenizer(tokenizer_file)
        if self._tokenizer.truncation is None:
            raise ModelConfigError(f"{tokenizer_file} sets no truncation: texts would pass the model's limit")
        self._tokenizer.no_padding()
        self._max_text_bytes = max_text_bytes

    @classmethod
    def load(cls, model: StepModel) -> TextTokenizer:
        """From the model's version folder and parameters. Raises ArtifactError or ModelConfigError."""
        return cls(model.version_folder / TOKENIZER_FILE, TEXT_BYTES.of(model))

    def encode(self, texts: npt.NDArray[np.object_]) -> dict[str, npt.NDArray[np.int32]]:
        """Token ids of `texts`, BYTES [n, 1].

        Returns INT32 arrays: `input_ids` [n, L] padded with zeros to the longest text, `length` [n, 1] the number of
        ids that count in each row, `span` [n, ceil(L / n)] zeros, whose n * ceil(L / n) elements tell the graph how
        wide the widest row is. Raises InvalidInput for bytes that are not UTF-8 and for texts over the limit.
        """
        rows = read_texts(texts, "text", self._max_text_bytes)
        return ragged([encoding.ids for encoding in self._tokenizer.encode_batch_fast(rows)])


DECLARED = Declaration((TEXT_BYTES,), {TOKENIZER_FILE: TextTokenizer.load})


def read_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json. Raises ArtifactError when it is missing, ModelConfigError when it is none."""
    if not file.is_file():
        raise ArtifactError(f"{file} is missing: run `conch build`")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as problem:  # the library has no class of its own for a file it cannot read
        raise ModelConfigError(f"{file} is not a tokenizer: {problem}") from problem


def ragged(
    rows: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None
) -> dict[str, npt.NDArray[np.int32]]:
    """Rows of token ids as the three ragged tensors described in `TextTokenizer.encode`.

    With `segments`, the segment number of each id, there is a fourth: `segments` [n, L].
    """
    count, longest = len(rows), max(map(len, rows))
    length = np.array([[len(ids)] for ids in rows], dtype=np.int32)
    span = np.zeros((count, -(-longest // count)), dtype=np.int32)
    tensors = {"input_ids": _padded(rows, longest), "length": length, "span": span}
    return tensors if segments is None else {**tensors, "segments": _padded(segments, longest)}


def _padded(rows: Sequence[Sequence[int]], width: int) -> npt.NDArray[np.int32]:
    matrix = np.zeros((len(rows), width), dtype=np.int32)
    for target, values in zip(matrix, rows, strict=True):
        target[: len(values)] = values
    return matrix
