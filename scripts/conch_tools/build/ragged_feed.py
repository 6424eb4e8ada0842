"""The inputs of a ragged graph (see conch_tools.build.ragged), collected as Triton collects them; no torch needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.text_tokenizer import ragged

GRAPH_INPUTS = ("input_ids", "segments", "length", "span", "row_size", "width")
"""In this order; `segments` only where the model takes them."""

Rows = Sequence[Sequence[int]]


def ragged_feed(requests: Sequence[Rows], segments: Sequence[Rows] | None = None) -> dict[str, npt.NDArray[Any]]:
    """The graph's inputs for requests of token rows, as Triton's C++ backend would collect them into one batch."""
    parts = [ragged(rows, None if segments is None else segments[index]) for index, rows in enumerate(requests)]
    feed = {
        "input_ids": np.concatenate([part["input_ids"].reshape(-1) for part in parts]),
        "length": np.concatenate([part["length"] for part in parts]),
        "span": np.concatenate([part["span"].reshape(-1) for part in parts]),
        "row_size": np.concatenate(
            [np.full((len(part["length"]), 1), part["input_ids"].shape[1], dtype=np.int32) for part in parts]
        ),
        "width": np.zeros(max(part["span"].size for part in parts), dtype=np.float32),
    }
    if segments is not None:
        feed["segments"] = np.concatenate([part["segments"].reshape(-1) for part in parts])
    return feed
