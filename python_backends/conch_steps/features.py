"""Objects of named values to the rows of numbers a tabular model was trained on.

What a value may be is the model's affair and travels with it: schema.json, written from the `[features]` of its
pipeline.toml. Nothing is guessed: a value that the schema does not allow is refused by name, with what is allowed, and
a caller hears of all problems of a row at once. Values that the caller does not send may come from a feature store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError
from conch_steps.json_objects import SHOWN_CHARACTERS, known_instead, read_object, shown
from conch_steps.serving import StepModel

SCHEMA_FILE = "schema.json"
ENTITY = "entity_id"
"""The name that asks the feature store for the values that a row does not give."""

MAX_ROW_BYTES = 64 * 1024
SHOWN_PROBLEMS = 5

Values: TypeAlias = Mapping[str, object]
Lookup: TypeAlias = Callable[[Sequence[str]], Sequence[Values]]
"""From entities to their stored values, in order; of an unknown one there are none."""


@dataclass(frozen=True)
class Numeric:
    """A number within bounds, which belong to it."""

    minimum: float
    maximum: float
    default: float | None = None

    @property
    def allowed(self) -> str:
        """In words, for refusals."""
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def number(self, value: object) -> float | None:
        """The value as the model takes it; None when it is not allowed."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if self.minimum <= value <= self.maximum else None


@dataclass(frozen=True)
class Categorical:
    """One of the categories, which the model takes by number."""

    categories: Sequence[str]
    default: str | None = None

    @property
    def allowed(self) -> str:
        """In words, for refusals."""
        return f"one of {', '.join(self.categories)}"

    def number(self, value: object) -> float | None:
        """The index of the category; None when it is not allowed."""
        return float(self.categories.index(value)) if isinstance(value, str) and value in self.categories else None


Feature: TypeAlias = Numeric | Categorical


def read_schema(path: Path) -> dict[str, Feature]:
    """The features by name, in the order of the model's columns. Raises ArtifactError or ModelConfigError."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: run `conch build`")
    try:
        features: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["features"]
        schema = {name: _feature(**said) for name, said in features.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ModelConfigError(f"{path} is not a usable schema: {problem}") from problem
    if not schema or ENTITY in schema:
        raise ModelConfigError(f"{path} must name features, and none of them `{ENTITY}`")
    return schema


def schema_of(model: StepModel) -> dict[str, Feature]:
    """The features that a model's version folder names. Raises ArtifactError or ModelConfigError."""
    return read_schema(model.version_folder / SCHEMA_FILE)


def _feature(type: str, **said: Any) -> Feature:
    if type == "numeric":
        return Numeric(**said)
    if type == "categorical":
        return Categorical(**said)
    raise ValueError(f"a feature is numeric or categorical, not {type!r}")


class FeatureRows:
    """Validates objects of named values and turns them into rows."""

    def __init__(self, schema: Mapping[str, Feature], lookup: Lookup | None = None) -> None:
        self._schema = schema
        self._lookup = lookup

    def rows(self, features: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
        """Rows FP32 [n, columns] of `features`, BYTES [n, 1], each a JSON object; a category is its index.

        A feature that is absent or null takes its stored value where the row names an entity, else its default.
        Raises InvalidInput naming the row, the features, their values and what is allowed.
        """
        raw = features.reshape(-1)
        if not len(raw):
            raise InvalidInput("`features` has no rows: send at least one object")
        given: list[Values] = [read_object(each, _place(index), MAX_ROW_BYTES) for index, each in enumerate(raw)]
        if self._lookup is not None:
            given = self._completed(given, self._lookup)
        return np.array([self._row(values, _place(index)) for index, values in enumerate(given)], dtype=np.float32)

    def _completed(self, given: Sequence[Values], lookup: Lookup) -> list[Values]:
        """The values with those stored of the entities named, which what the caller gives overrides."""
        entities = {index: _entity(row[ENTITY], _place(index)) for index, row in enumerate(given) if ENTITY in row}
        if not entities:
            return list(given)
        asked = sorted(set(entities.values()))
        stored = dict(zip(asked, lookup(asked), strict=True))
        completed = list(given)
        for index, entity in entities.items():
            if not stored[entity]:
                raise InvalidInput(f"{_place(index)}: `{ENTITY}` {shown(entity)} is not in the feature store")
            own = {name: value for name, value in given[index].items() if name != ENTITY and value is not None}
            completed[index] = {**stored[entity], **own}
        return completed

    def _row(self, values: Values, where: str) -> list[float]:
        numbers = []
        unknown = [name for name in values if name not in self._schema]
        problems = []
        for name, feature in self._schema.items():
            value = values.get(name)
            if value is None:
                value = feature.default
            number = feature.number(value)
            if number is not None:
                numbers.append(number)
            elif value is None:
                problems.append(f"`{name}` is missing, it must be {feature.allowed}")
            else:
                problems.append(f"`{name}` is {shown(value)}, but must be {feature.allowed}")
        if unknown or problems:
            # Looking for the name that was meant takes its time, so only those that are shown get that.
            first = [*map(self._unknown, unknown[:SHOWN_PROBLEMS]), *problems][:SHOWN_PROBLEMS]
            more = len(unknown) + len(problems) - len(first)
            rest = [f"and {more} more"] if more else []
            raise InvalidInput(f"{where}: {'; '.join([*first, *rest])}")
        return numbers

    def _unknown(self, name: str) -> str:
        return f"{shown(name)} is not a feature: {known_instead(name, self._schema)}"


def _entity(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > SHOWN_CHARACTERS:
        raise InvalidInput(
            f"{where}: `{ENTITY}` is {shown(value)}, but must be a text of 1 to {SHOWN_CHARACTERS} printable characters"
        )
    return value


def _place(index: int) -> str:
    return f"`features`[{index}]"
