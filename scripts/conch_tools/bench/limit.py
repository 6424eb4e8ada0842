"""The in-process limit: what tokenising and ONNX Runtime reach when nothing is served at all.

The same artifacts as Conch serves, all texts known beforehand and sorted by length, batches of 32, all cores on one
session: a server, which must receive, queue, batch what has come and answer, can only be slower.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import onnxruntime
from conch_tools.bench.contenders import Embeddings, Turn, checked_difference
from conch_tools.build.ragged_feed import ragged_feed
from conch_tools.pipelines import newest_version

ort: Any = onnxruntime  # mypy finds the folder python_backends/onnxruntime instead of the wheel

BATCH = 32


class InProcessLimit:
    """Tokenises and embeds the corpus over and over, in this process."""

    name = "in-process limit"

    def __init__(self, repository: Path, pipeline: str, output: str, texts: Sequence[str]) -> None:
        cores = len(os.sched_getaffinity(0))
        self.setup = f"tokenizers + onnxruntime, {cores} threads, batches of {BATCH} sorted by length"
        self._texts = list(texts)
        self._output = output
        tokenize, model = repository / f"{pipeline}_tokenize", repository / f"{pipeline}_model"
        self._tokenizer = Tokenizer.from_file(str(tokenize / newest_version(tokenize) / "tokenizer.json"))
        self._tokenizer.no_padding()
        options = ort.SessionOptions()
        options.intra_op_num_threads = cores
        graph = model / newest_version(model) / "model.onnx"
        self._session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.embeddings = self._pass()

    def turn(self, seconds: float, concurrency: int) -> Turn:
        """Whole passes over the corpus until the time is over; `concurrency` means nothing without a server."""
        started = time.perf_counter()
        passes = 0
        while (elapsed := time.perf_counter() - started) < seconds:
            embeddings = self._pass()
            passes += 1
        difference = checked_difference(self.name, embeddings, self.embeddings)
        return Turn(requests_per_s=passes * len(self._texts) / elapsed, largest_difference=difference)

    def _pass(self) -> Embeddings:
        """Embeddings of the corpus, FP32 [texts, width], in its order."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(self._texts)]
        by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        parts = []
        for start in range(0, len(rows), BATCH):
            feed = ragged_feed([[rows[index]] for index in by_length[start : start + BATCH]])
            parts.append(self._session.run([self._output], feed)[0])
        embeddings = np.empty((len(rows), parts[0].shape[1]), dtype=np.float32)
        embeddings[by_length] = np.concatenate(parts)
        return embeddings
