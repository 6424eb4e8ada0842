"""`conch infer`: a running server's answers as plain JSON values, one for each input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from conch_client import Client, InvalidInput
from conch_tools.errors import SettingsError


def infer(
    url: str, pipeline: str, inputs: Sequence[str], top_k: int | None, timeout_s: float
) -> Iterator[dict[str, Any]]:
    """One JSON object for each input, in order. Raises the client's typed errors."""
    with Client(url, timeout_s=timeout_s) as client:
        outputs = {tensor.name for tensor in client.metadata(pipeline).outputs}
        if {"label", "score"} <= outputs:
            for text, answer in zip(inputs, client.classify(pipeline, list(inputs), top_k=top_k), strict=True):
                yield {"input": text, "label": answer.label, "score": answer.score, "scores": dict(answer.scores)}
            return
        if top_k is not None:
            raise SettingsError(f"--top-k is for classifiers, and `{pipeline}` is not one")
        yield from _tensors(client, pipeline, inputs)


def _tensors(client: Client, pipeline: str, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    tensors = client.metadata(pipeline).inputs
    if len(tensors) != 1:
        names = ", ".join(tensor.name for tensor in tensors)
        raise InvalidInput(f"`{pipeline}` takes {len(tensors)} tensors ({names}): use conch_client's infer()")
    for value in inputs:
        answer = client.infer(pipeline, inputs={tensors[0].name: value})
        yield {"input": value, **{name: np.asarray(answer[name]).tolist() for name in answer}}
