"""Accuracy of an image's own label among all, apart for what training showed and what it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_tools.build.image_text_quality import MatchAccuracy


def test_seen_and_unseen_are_counted_apart() -> None:
    images = [(b"cat", "cat", True), (b"dog", "cat", True), (b"dog", "dog", False)] * 20
    asked = []

    def ask(tensors: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        asked.append(tensors["labels"].shape)
        return {"label": np.array([[raw.decode()] for raw in tensors["image"][:, 0]], dtype=np.object_)}

    figures = MatchAccuracy(["cat", "dog", "cow"], images).measure(ask)
    assert figures == {"accuracy": 0.5, "accuracy_unseen": 1.0}
    assert asked == [(32, 3), (28, 3)]
