"""How often an image is given its own label among all the labels there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conch_tools.build.quality import BATCH, Ask

SETS = ("accuracy", "accuracy_unseen")


@dataclass(frozen=True)
class MatchAccuracy:
    """The share of held-out images whose best label, of all, is the true one.

    `accuracy` is of new pictures of what training showed, `accuracy_unseen` of pairs of colour and shape that no
    training picture had.
    """

    labels: Sequence[str]
    """Asked of every image."""
    images: Sequence[tuple[bytes, str, bool]]
    """Encoded image, true label, whether its kind was seen in training."""

    def measure(self, ask: Ask) -> dict[str, float]:
        """Asks in batches."""
        right: dict[bool, list[bool]] = {True: [], False: []}
        for start in range(0, len(self.images), BATCH):
            batch = self.images[start : start + BATCH]
            pictures = np.array([image for image, _, _ in batch], dtype=np.object_).reshape(-1, 1)
            labels = np.array([[label.encode() for label in self.labels]] * len(batch), dtype=np.object_)
            best = ask({"image": pictures, "labels": labels})["label"][:, 0]
            for got, (_, want, seen) in zip(best, batch, strict=True):
                right[seen].append(str(got) == want)
        return {name: float(np.mean(right[seen])) for name, seen in zip(SETS, (True, False), strict=True)}
