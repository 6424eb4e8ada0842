"""How good a served pipeline is: held-out data, the questions to ask and the figures they give.

Quality is measured on the running ensemble and not on the source model, so it covers everything in between. A measure
travels from the process that builds to the one that asks the server; it holds plain data and imports no framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Tensors = Mapping[str, npt.NDArray[Any]]
Ask = Callable[[Tensors], Tensors]
"""The served pipeline: batches of its public inputs to its outputs."""

BATCH = 32


class Quality(Protocol):
    """A measure on held-out data."""

    def measure(self, ask: Ask) -> dict[str, float]:
        """Figures by name, as the gates name them."""


@dataclass(frozen=True)
class LabelAccuracy:
    """The share of held-out items whose best label is the true one: `accuracy`."""

    tensor: str
    inputs: Sequence[bytes]
    labels: Sequence[str]

    def measure(self, ask: Ask) -> dict[str, float]:
        """Asks in batches."""
        right = 0
        for start in range(0, len(self.inputs), BATCH):
            batch = np.array(self.inputs[start : start + BATCH], dtype=np.object_).reshape(-1, 1)
            answers = ask({self.tensor: batch})["label"][:, 0]
            wanted = self.labels[start : start + BATCH]
            right += sum(str(got) == want for got, want in zip(answers, wanted, strict=True))
        return {"accuracy": right / len(self.inputs)}
