"""What a given tabular classifier is to its builder and to `conch new`, whoever trained it, in whatever file.

A row is numbers in the order of the model's columns, in which a category is its index.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from conch_steps.features import ENTITY
from conch_tools.errors import BuildError
from conch_tools.pipelines import CategoricalFeature, Feature, NumericFeature

Matrix = npt.NDArray[np.float32]
Scores = Literal["probabilities", "logits"]
Values = Mapping[str, float | str]
WIDEST = 1e9
"""Bounds of a number of which the model tells nothing."""
EVEN = 1e4
"""Bounds that are further apart than this say little of the values between them."""
DIGITS = 4
"""Of numbers that are made up: more would only be harder to read."""


@dataclass(frozen=True)
class Column:
    """One value of a row."""

    name: str
    values: Sequence[str | float] = ()
    """What the model takes for each category; none for a number."""
    truth: bool = False
    """Whether the number is 0 or 1."""
    usual: Sequence[float] | None = None
    """The ends of where the data lay, where a part of the model tells: no bounds, but a place to ask at."""

    @property
    def feature(self) -> Feature:
        """What may be sent for it, as far as the model tells."""
        if self.values:
            return CategoricalFeature(type="categorical", categories=[str(value) for value in self.values])
        minimum, maximum = (0.0, 1.0) if self.truth else (-WIDEST, WIDEST)
        return NumericFeature(type="numeric", minimum=minimum, maximum=maximum)


class TabularModel(Protocol):
    """A classifier of rows."""

    @property
    def library(self) -> str:
        """Whose answers `answers` are."""

    @property
    def columns(self) -> Sequence[Column]:
        """In the order in which the model takes them."""

    @property
    def labels(self) -> Sequence[str]:
        """In the order of the scores."""

    @property
    def notes(self) -> Sequence[str]:
        """What somebody who builds it should know."""

    @property
    def origin(self) -> Mapping[str, str]:
        """What a manifest should say of where it comes from, beyond its [source]."""

    def answers(self, rows: Matrix) -> Matrix:
        """Scores [n, classes] of rows [n, columns]. Raises BuildError when the model refuses them."""

    def graph(self, output: Scores) -> onnx.ModelProto:
        """From `rows` FP32 [n, columns] to `output` FP32 [n, classes]."""


def numbered_classes(classes: int) -> list[str]:
    """Names of classes that nobody named."""
    return [f"class_{index}" for index in range(classes)]


def require_usable(pipeline: str, columns: Sequence[Column], labels: Sequence[str]) -> None:
    """Raises BuildError for names that a step could not keep apart, and for less than two classes."""
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BuildError(pipeline, f"two columns of its source are named {twice[0]!r}: a row could give one only")
    if ENTITY in names:
        raise BuildError(pipeline, f"a column of its source is named `{ENTITY}`, which names rows of a feature store")
    for column in columns:
        if len(column.values) == 1:
            raise BuildError(pipeline, f"column {column.name!r} has one category only: leave it out of the model")
    if len(labels) < 2:
        raise BuildError(pipeline, f"its source is no classifier: it tells {len(labels)} class apart")
    if unusable := [label for label in labels if not label or not label.isprintable()]:
        raise BuildError(pipeline, f"its source names a class {unusable[0]!r}: a label is a text that can be printed")
    if len(set(labels)) < len(labels):
        raise BuildError(pipeline, f"two classes of its source have the same name: {', '.join(labels)}")


def made_up(features: Mapping[str, Feature], columns: Sequence[Column], count: int) -> list[dict[str, float | str]]:
    """Rows of values that the features of a model's columns allow, where its data lay or in sizes from small to large;
    the same every time."""
    chance = random.Random(count)
    asked = list(zip(features, features.values(), columns, strict=True))
    return [{name: _made_up(feature, column, chance) for name, feature, column in asked} for _ in range(count)]


def _made_up(feature: Feature, column: Column, chance: random.Random) -> float | str:
    if isinstance(feature, CategoricalFeature):
        return chance.choice(feature.categories)
    if feature.maximum - feature.minimum <= EVEN or not feature.minimum <= 0 <= feature.maximum:
        return _short(chance.uniform(feature.minimum, feature.maximum), feature)
    if column.usual is not None:
        return _short(chance.uniform(*column.usual), feature)
    # Of wide bounds, even chances would give huge numbers only.
    size = 10.0 ** chance.uniform(-1, 1.5)
    return _short(chance.gauss(feature.default or 0.0, size), feature)


def _short(number: float, feature: NumericFeature) -> float:
    return min(max(float(f"{number:.{DIGITS}g}"), feature.minimum), feature.maximum)


def matrix_of(features: Mapping[str, Feature], rows: Sequence[Values]) -> Matrix:
    """Rows FP32 [n, columns] of values, in which a category is its index. Raises KeyError where one is missing."""
    return np.array([[_number(feature, row[name]) for name, feature in features.items()] for row in rows], np.float32)


def _number(feature: Feature, value: float | str) -> float:
    if isinstance(feature, CategoricalFeature):
        return float(feature.categories.index(str(value)))
    return float(value)
