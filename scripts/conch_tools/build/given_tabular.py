"""A tabular classifier that was trained elsewhere: a ready ONNX file, a scikit-learn model, one of MLflow.

The features are those of pipeline.toml, in the order of the model's columns: `conch new` writes them as the model
tells them, and whoever knows the data names them and narrows their bounds. No data come with such a model, so the
questions of a build are made up of what the features allow.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from scipy.special import expit, softmax

from conch_steps.class_labels import ACTIVATION
from conch_steps.features import SCHEMA_FILE
from conch_tools.build.quality import Quality
from conch_tools.build.reference import CORPUS_SIZE, Item, Reference, StepAnswers, byte_item, texts_of
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.tabular_model import Scores, TabularModel, made_up, matrix_of
from conch_tools.build.tabular_sources import tabular_model
from conch_tools.errors import BuildError
from conch_tools.pipelines import CategoricalFeature, Feature, Pipeline


class GivenTabularBuilder:
    """`<pipeline>_features`, `<pipeline>_model` and `<pipeline>_labels` of a given classifier."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._model = tabular_model(pipeline)
        _require_columns(pipeline, self._model)
        # The config of the labels says what they are ranked by; the graph's output is called that.
        self._activation = step_parameters(pipeline, "labels").get(ACTIVATION.name, ACTIVATION.default)
        self._scores: Scores = "probabilities" if self._activation == "none" else "logits"

    def stage(self, staged: Staged) -> None:
        """Write schema, model and labels."""
        write_schema(staged.version(self._pipeline.step("features")), self._pipeline.features)
        graph = self._model.graph(self._scores)
        onnx.save(graph, str(staged.version(self._pipeline.step("model")) / "model.onnx"))
        staged.write_labels(self._pipeline.step("labels"), self._model.labels)
        staged.origin, staged.notes = self._model.origin, self._model.notes

    def corpus(self) -> Sequence[Item]:
        """Rows of values that the features allow, every other one without some of those that have a default."""
        chance = random.Random(CORPUS_SIZE)
        optional = [name for name, each in self._pipeline.features.items() if each.default is not None]
        rows = made_up(self._pipeline.features, self._model.columns, CORPUS_SIZE)
        for row in rows[::2]:
            for name in chance.sample(optional, k=chance.randint(0, len(optional))):
                del row[name]
        return [byte_item(features=json.dumps(row)) for row in rows]

    def reference(self, items: Sequence[Item]) -> Reference:
        """The answers of the library that the model is of."""
        rows = matrix_of(self._pipeline.features, [self._completed(item) for item in items])
        scores = self._model.answers(rows)
        ranking = scores
        if self._scores == "logits":
            ranking = expit(scores) if self._activation == "sigmoid" else softmax(scores, axis=1)
        return Reference(
            library=self._model.library,
            items=items,
            steps=[
                StepAnswers(self._pipeline.step("features"), {"rows": list(rows)}),
                StepAnswers(self._pipeline.step("model"), {self._scores: list(scores)}),
                StepAnswers(self._pipeline.step("labels"), ranked(ranking, self._model.labels)),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """None: a given model brings no held-out data."""
        return None

    def _completed(self, item: Item) -> dict[str, Any]:
        """An item's values, with the defaults of those that it does not give. Raises BuildError where one has none."""
        given = {name: value for name, value in json.loads(texts_of(item, "features")[0]).items() if value is not None}
        features = self._pipeline.features
        row = {**{name: each.default for name, each in features.items() if each.default is not None}, **given}
        if missing := sorted(features.keys() - row.keys()):
            raise BuildError(self._pipeline.name, f"a row lacks {', '.join(missing)}")
        return row


def write_schema(folder: Path, features: Mapping[str, Feature]) -> None:
    """What the step that makes rows reads: the features of pipeline.toml."""
    schema = {name: each.model_dump(exclude_none=True) for name, each in features.items()}
    (folder / SCHEMA_FILE).write_text(json.dumps({"features": schema}, indent=2) + "\n", encoding="utf-8")


def ranked(answers: npt.NDArray[np.floating[Any]], labels: Sequence[str]) -> dict[str, list[npt.NDArray[Any]]]:
    """`label` and `score` of each row of probabilities, best first."""
    names = np.array([label.encode() for label in labels], dtype=np.object_)
    orders = [np.argsort(-row, kind="stable") for row in answers]
    scores = [row[order] for row, order in zip(answers, orders, strict=True)]
    return {"label": [names[order] for order in orders], "score": scores}


def _require_columns(pipeline: Pipeline, model: TabularModel) -> None:
    """Raises BuildError when the features are not the model's columns. Their names are the user's to choose."""
    if len(pipeline.features) != len(model.columns):
        names = ", ".join(column.name for column in model.columns)
        raise BuildError(
            pipeline.name,
            f"[features] has {len(pipeline.features)}, but the model takes {len(model.columns)} columns: {names}",
        )
    for (name, feature), column in zip(pipeline.features.items(), model.columns, strict=True):
        said = list(feature.categories) if isinstance(feature, CategoricalFeature) else []
        known = [str(value) for value in column.values]
        if said != known:
            wanted = f"the categories {', '.join(known)}, in this order" if known else "a number"
            raise BuildError(pipeline.name, f"[features] {name}: the model takes {wanted}")
