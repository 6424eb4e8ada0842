"""Several models' probabilities to one opinion: their weighted average.

The average is taken in FP64 and rounded once, so it equals the one that the members' own library would give.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conch_steps.errors import ArtifactError, ModelConfigError, WrongAnswer
from conch_steps.parameters import Declaration
from conch_steps.serving import StepModel

MEMBERS_FILE = "members.json"


def read_members(path: Path) -> dict[str, float]:
    """Weights by member, as they were written. Raises ArtifactError or ModelConfigError."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: run `conch build`")
    try:
        return {name: float(weight) for name, weight in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise ModelConfigError(f"{path} must hold an object of members and their weights: {problem}") from problem


class SoftVote:
    """Averages the members' probabilities by weights, of which only the proportions count."""

    def __init__(self, members: Mapping[str, float]) -> None:
        """Raises ModelConfigError for weights that give no average."""
        total = sum(members.values())
        if not members or min(members.values()) < 0 or not 0 < total < math.inf:
            raise ModelConfigError(f"the weights {dict(members)} must be zero or more, finite, and one above zero")
        self._shares = {name: weight / total for name, weight in members.items()}

    @classmethod
    def load(cls, model: StepModel) -> SoftVote:
        """From the model's version folder. Raises ArtifactError or ModelConfigError."""
        return cls(read_members(model.version_folder / MEMBERS_FILE))

    def average(self, of: Callable[[str], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Probabilities FP32 [n, classes], from those of each member by name. Raises WrongAnswer when they differ in
        shape or are not numbers."""
        opinions = {name: of(name) for name in self._shares}
        if len({opinion.shape for opinion in opinions.values()}) > 1:
            shapes = ", ".join(f"{name} {list(opinion.shape)}" for name, opinion in opinions.items())
            raise WrongAnswer(f"the members' answers differ in shape: {shapes}")
        for name, opinion in opinions.items():
            if not np.isfinite(opinion).all():
                raise WrongAnswer(f"member `{name}` gives no probabilities (NaN or infinite)")
        average = sum(share * opinions[name].astype(np.float64) for name, share in self._shares.items())
        return np.asarray(average, dtype=np.float32)


DECLARED = Declaration(files={MEMBERS_FILE: SoftVote.load})
