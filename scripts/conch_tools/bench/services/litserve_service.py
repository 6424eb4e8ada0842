"""LitServe + sentence-transformers with LitServe's own batching: one worker, one HTTP process.

The worker holds the model and encodes up to MAX_BATCH_SIZE waiting texts at once; sentence-transformers sorts them by
length and pads them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import litserve
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from conch_tools.bench.services.lifeline import end_with_parent

MAX_BATCH_SIZE = 16
BATCH_TIMEOUT_S = 0.005


class Embed(litserve.LitAPI):  # type: ignore[misc]
    """LitServe's hooks around SentenceTransformer.encode."""

    def __init__(self, model_folder: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
        self._model_folder = model_folder

    def setup(self, device: str) -> None:
        self._model = SentenceTransformer(self._model_folder, device=device)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, texts: Sequence[str]) -> npt.NDArray[Any]:
        return self._model.encode(texts)

    def encode_response(self, output: npt.NDArray[Any]) -> dict[str, list[float]]:
        return {"embedding": output.tolist()}


if __name__ == "__main__":
    end_with_parent()
    server = litserve.LitServer(Embed(sys.argv[1]), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[2]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
