"""Logits, or probabilities, to named classes with scores, best first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.parameters import REQUEST_PARAMETERS, Declaration, Parameter
from conch_steps.serving import StepModel

Activation = Literal["softmax", "sigmoid", "none"]
LABELS_FILE = "labels.txt"


def read_labels(path: Path) -> list[str]:
    """Class names, one a line in the order of the logits. Raises ArtifactError or ModelConfigError."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: run `conch build`")
    try:
        labels = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as problem:
        raise ModelConfigError(f"{path} is not UTF-8: {problem}") from problem
    if not all(labels):
        raise ModelConfigError(f"{path} must name one class a line, without empty lines")
    return labels


def labels_of(model: StepModel) -> list[str]:
    """The labels that lie in a model's version folder. Raises ArtifactError or ModelConfigError."""
    return read_labels(model.version_folder / LABELS_FILE)


def activation_named(name: str) -> Activation:
    """`softmax` for one class of many, `sigmoid` for any number of classes at once, `none` where the model's answers
    are probabilities already. Raises ValueError."""
    if name == "softmax":
        return "softmax"
    if name == "sigmoid":
        return "sigmoid"
    if name == "none":
        return "none"
    raise ValueError(name)


ACTIVATION: Parameter[Activation] = Parameter("activation", "softmax, sigmoid or none", activation_named, "softmax")


def scored_input(model: StepModel) -> str:
    """The input that a model ranks by: what it is called says whether it is probabilities already."""
    return "probabilities" if ACTIVATION.of(model) == "none" else "logits"


DECLARED = Declaration(
    (ACTIVATION,), {LABELS_FILE: labels_of}, classes_of=scored_input, depends_on=(REQUEST_PARAMETERS,)
)


class ClassLabels:
    """Ranks classes by their scores."""

    def __init__(self, labels: Sequence[str], activation: Activation) -> None:
        self._labels = np.array([label.encode() for label in labels], dtype=np.object_)
        self._activation = activation

    def rank(self, logits: npt.NDArray[np.float32], top_k: object = None) -> dict[str, npt.NDArray[Any]]:
        """`label` BYTES [n, k] and `score` FP32 [n, k], best first, of `logits` FP32 [n, classes].

        `top_k` is the caller's wish: a whole number from 1 on, or None for all classes. Equal scores keep the order of
        the labels file. Raises InvalidInput for a `top_k` that is not usable, WrongAnswer for logits that give none.
        """
        classes = len(self._labels)
        if logits.shape[-1] != classes:
            raise ModelConfigError(
                f"the model gives {logits.shape[-1]} logits, the labels file names {classes} classes"
            )
        count = classes if top_k is None else min(_top_k(top_k), classes)
        with np.errstate(invalid="ignore"):
            scores = self._scores(logits)
        if np.isnan(scores).any():
            raise WrongAnswer("the model's logits give no scores (NaN): it overflowed, or its file is damaged")
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return {"label": self._labels[order], "score": np.take_along_axis(scores, order, axis=1)}

    def _scores(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._activation == "none":
            return logits
        return softmax(logits) if self._activation == "softmax" else _sigmoid(logits)


def _top_k(wish: object) -> int:
    try:
        count = int(str(wish))
    except ValueError:
        count = 0
    if isinstance(wish, bool) or count < 1:
        raise InvalidInput(f"parameter `top_k` is {wish!r:.40}, but must be a whole number from 1 on")
    return count


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of each row of logits FP32 [n, classes]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # tanh cannot overflow, exp(-x) can.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float32)
