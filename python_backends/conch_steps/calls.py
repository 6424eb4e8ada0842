"""Rows through another model of the same server, however many there are: in chunks that its maximum batch allows.

A step that expands its input (a long text into windows, a text into one row a label) cannot hand the rows on through
an ensemble, whose tensors keep one batch dimension. It asks the model itself instead, Triton's BLS. Rows are sorted by
length before they are cut into chunks, so that a chunk holds little padding, and a chunk has an upper bound of tokens
as well, so that a long document does not keep every other request waiting behind one execution. Two chunks of a
request are under way at once, so that the model need not wait for the step; more of them would be joined to one long
execution in the model's queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import CallFailed
from conch_steps.parameters import whole_number
from conch_steps.serving import require_time
from conch_steps.text_tokenizer import ragged

Tensors = Mapping[str, npt.NDArray[Any]]

TOKENS_A_CHUNK = 2048
CHUNKS_AT_ONCE = 2
MAX_ROWS = whole_number("max_rows", 64)
"""Config parameter of every step that calls: the called model's maximum batch."""


class ModelCalls:
    """Calls one model. `pb_utils` is Triton's module, handed in by the adaptor."""

    def __init__(self, pb_utils: Any, model: str, max_rows: int) -> None:
        self._pb_utils = pb_utils
        self._model = model
        self._max_rows = max_rows

    def token_rows(
        self, rows: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None, output: str
    ) -> list[npt.NDArray[Any]]:
        """The model's `output` for each row of token ids, in their order.

        The output of a token-level model, [width, ...] a row, is as wide as its chunk: cut it to the row's length.
        Raises CallFailed with the model's own error, OutOfTime when nobody waits any more.
        """
        answers: list[npt.NDArray[Any]] = [np.empty(0)] * len(rows)
        chunks = like_length_chunks([len(row) for row in rows], self._max_rows, TOKENS_A_CHUNK)
        inputs = [
            ragged([rows[i] for i in chunk], None if segments is None else [segments[i] for i in chunk])
            for chunk in chunks
        ]
        # A pool of its own: in a common one a long text's chunks would all go before everyone else's.
        callers = ThreadPoolExecutor(CHUNKS_AT_ONCE, thread_name_prefix=f"calls-{self._model}")
        try:
            for chunk, answer in zip(chunks, callers.map(lambda each: self(each, [output]), inputs), strict=True):
                require_time()
                for index, row in zip(chunk, answer[output], strict=True):
                    answers[index] = row
        finally:
            callers.shutdown(cancel_futures=True)
        return answers

    def __call__(self, tensors: Tensors, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """One call: `outputs` by name. Raises CallFailed with the model's own error."""
        pb_utils = self._pb_utils
        answer = pb_utils.InferenceRequest(
            model_name=self._model,
            requested_output_names=list(outputs),
            inputs=[pb_utils.Tensor(name, value) for name, value in tensors.items()],
        ).exec()
        if answer.has_error():
            raise CallFailed(self._model, answer.error().message())
        return {name: pb_utils.get_output_tensor_by_name(answer, name).as_numpy() for name in outputs}


def like_length_chunks(lengths: Sequence[int], max_rows: int, max_tokens: int) -> list[list[int]]:
    """Indices of the rows of each chunk, shortest rows first: at most `max_rows` rows and, padded, `max_tokens` tokens.

    A row that is longer than that is a chunk of its own.
    """
    chunks: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = chunks[-1] if chunks else []
        if not last or len(last) == max_rows or (len(last) + 1) * lengths[index] > max_tokens:
            chunks.append([index])
        else:
            last.append(index)
    return chunks
