"""Tabular pipelines: schema, feature store, scikit-learn's models through skl2onnx, and the reference's answers.

The reference is scikit-learn itself on the training's own matrix; it never sees the step that makes rows. Models that
were trained elsewhere are given_tabular.py's.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

from conch_steps.features import ENTITY
from conch_steps.soft_vote import MEMBERS_FILE
from conch_tools.build.builder import Builder
from conch_tools.build.feature_repo import write_feature_repo
from conch_tools.build.given_tabular import GivenTabularBuilder, ranked, write_schema
from conch_tools.build.quality import LabelAccuracy, Quality
from conch_tools.build.reference import CORPUS_SIZE, Item, Reference, StepAnswers, byte_item, texts_of
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.tabular_graph import OPSETS
from conch_tools.errors import BuildError
from conch_tools.pipelines import CategoricalFeature, Pipeline, load_pipeline
from conch_tools.training import TabularTraining, tabular_training

Probabilities = npt.NDArray[np.float32]


def tabular_classifier(pipeline: Pipeline) -> Builder:
    """The builder of a training's classifier, or of one that is given."""
    if pipeline.source.training is None:
        return GivenTabularBuilder(pipeline)
    return TabularClassifierBuilder(pipeline)


class TabularClassifierBuilder:
    """`<pipeline>_features`, `<pipeline>_model` and `<pipeline>_labels` of one classifier of named values."""

    KIND = "linear"

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._training = _training_of(pipeline, pipeline)
        self._classifier = self._training.fit(self.KIND)

    def stage(self, staged: Staged) -> None:
        """Write schema, feature store, model and labels."""
        folder = staged.version(self._pipeline.step("features"))
        write_schema(folder, self._pipeline.features)
        view = step_parameters(self._pipeline, "features").get("lookup")
        if view is not None:
            rows = {each.entity: each.values for each in self._training.patients()}
            write_feature_repo(folder, self._pipeline.name, view, rows, list(self._training.categories))
        model = staged.version(self._pipeline.step("model")) / "model.onnx"
        write_onnx(model, self._classifier, len(self._training.columns), "probabilities")
        staged.write_labels(self._pipeline.step("labels"), self._training.labels)

    def corpus(self) -> Sequence[Item]:
        """Held-out patients: given whole, without what has a default, and by entity."""
        return corpus_of(self._pipeline, self._training)

    def reference(self, items: Sequence[Item]) -> Reference:
        """scikit-learn's answers."""
        matrix = matrix_of(self._pipeline, self._training, items)
        answers = self._classifier.predict_proba(matrix)
        return Reference(
            library="scikit-learn",
            items=items,
            steps=[
                StepAnswers(self._pipeline.step("features"), {"rows": list(matrix)}),
                StepAnswers(self._pipeline.step("model"), {"probabilities": list(answers)}),
                StepAnswers(self._pipeline.step("labels"), ranked(answers, self._training.labels)),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Accuracy on the held-out patients."""
        return _accuracy(self._training)


class TabularVoteBuilder:
    """`<pipeline>_<member>`, `<pipeline>_join` and `<pipeline>_labels`: classifiers of another pipeline's rows."""

    def __init__(self, pipeline: Pipeline) -> None:
        if len(pipeline.uses) != 1 or not pipeline.members:
            raise BuildError(pipeline.name, "tabular-vote needs [members], and `uses` one pipeline that makes the rows")
        self._pipeline = pipeline
        self._rows_of = load_pipeline(pipeline.folder.parent / pipeline.uses[0])
        self._training = _training_of(pipeline, self._rows_of)
        unknown = sorted(pipeline.members.keys() - self._training.kinds.keys())
        if unknown:
            known = ", ".join(self._training.kinds)
            raise BuildError(pipeline.name, f"there is no model for member {unknown[0]}: there are {known}")
        self._classifiers = {name: self._training.fit(name) for name in pipeline.members}

    def stage(self, staged: Staged) -> None:
        """Write the members, their weights and the labels."""
        for name, classifier in self._classifiers.items():
            model = staged.version(self._pipeline.step(name)) / "model.onnx"
            write_onnx(model, classifier, len(self._training.columns), name)
        weights = staged.version(self._pipeline.step("join")) / MEMBERS_FILE
        weights.write_text(json.dumps(dict(self._pipeline.members), indent=2) + "\n", encoding="utf-8")
        staged.write_labels(self._pipeline.step("labels"), self._training.labels)

    def corpus(self) -> Sequence[Item]:
        """Held-out patients: given whole, without what has a default, and by entity."""
        return corpus_of(self._rows_of, self._training)

    def reference(self, items: Sequence[Item]) -> Reference:
        """The weighted average of scikit-learn's answers, and each member's own."""
        matrix = matrix_of(self._rows_of, self._training, items)
        opinions = {name: each.predict_proba(matrix) for name, each in self._classifiers.items()}
        weights = list(self._pipeline.members.values())
        average = np.average(np.stack(list(opinions.values())), axis=0, weights=weights)
        members = [StepAnswers(self._pipeline.step(name), {name: list(each)}) for name, each in opinions.items()]
        return Reference(
            library="scikit-learn",
            items=items,
            steps=[
                StepAnswers(self._rows_of.step("features"), {"rows": list(matrix)}),
                *members,
                StepAnswers(self._pipeline.step("join"), {"probabilities": list(average)}),
                StepAnswers(self._pipeline.step("labels"), ranked(average, self._training.labels)),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Accuracy on the held-out patients."""
        return _accuracy(self._training)


def write_onnx(path: Path, classifier: Any, columns: int, output: str) -> None:
    """Write a fitted classifier as a graph from `rows` FP32 [n, columns] to probabilities FP32 [n, classes]."""
    classes = len(classifier.classes_)
    converted = convert_sklearn(
        classifier,
        initial_types=[("rows", FloatTensorType([None, columns]))],
        final_types=[("label", Int64TensorType([None])), (output, FloatTensorType([None, classes]))],
        options={"zipmap": False},
        target_opset=OPSETS,
    )
    model = select_model_inputs_outputs(converted, outputs=[output])
    # The selection forgets the shape, which a server wants to know.
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["n", classes]))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def corpus_of(pipeline: Pipeline, training: TabularTraining) -> list[Item]:
    """Held-out patients in three forms: all values, some left to their defaults, an entity with other values."""
    chance = random.Random(CORPUS_SIZE)
    _, heldout = training.split()
    with_default = sorted(_defaults(pipeline))
    asked: list[dict[str, Any]] = []
    for number, patient in enumerate(heldout[:CORPUS_SIZE]):
        absent = chance.sample(with_default, k=chance.randint(1, len(with_default)))
        if number % 3 == 0:
            asked.append(dict(patient.values))
        elif number % 3 == 1:
            asked.append({name: value for name, value in patient.values.items() if name not in absent})
        else:
            other = {name: heldout[-1 - number].values[name] for name in absent}
            asked.append({ENTITY: patient.entity, **other})
    return [byte_item(features=json.dumps(each)) for each in asked]


def matrix_of(pipeline: Pipeline, training: TabularTraining, items: Sequence[Item]) -> npt.NDArray[np.float32]:
    """The rows that items mean, FP32 [n, columns]: what is given, what is known of the entity, the defaults.

    Raises BuildError for an entity that is not known and for a feature that has no value.
    """
    known = {each.entity: each.values for each in training.patients()}
    rows: list[dict[str, float | str]] = []
    for item in items:
        given = json.loads(texts_of(item, "features")[0])
        entity = given.pop(ENTITY, None)
        if entity is not None and entity not in known:
            raise BuildError(pipeline.name, f"the training's data have no {ENTITY} {entity!r}")
        row = {**_defaults(pipeline), **known.get(entity, {}), **given}
        if missing := pipeline.features.keys() - row.keys():
            raise BuildError(pipeline.name, f"a row lacks {', '.join(sorted(missing))}")
        rows.append(row)
    return training.matrix(rows)


def _defaults(pipeline: Pipeline) -> dict[str, float | str]:
    return {name: each.default for name, each in pipeline.features.items() if each.default is not None}


def _training_of(pipeline: Pipeline, rows_of: Pipeline) -> TabularTraining:
    """The pipeline's training, whose columns are the features of the pipeline that makes the rows."""
    if pipeline.source.training is None:
        raise BuildError(pipeline.name, f"{pipeline.task} needs source.training")
    training = tabular_training(pipeline.source.training)
    said = {
        name: list(each.categories) for name, each in rows_of.features.items() if isinstance(each, CategoricalFeature)
    }
    if list(rows_of.features) != list(training.columns):
        raise BuildError(pipeline.name, f"the features must be the training's, in order: {', '.join(training.columns)}")
    if said != {name: list(each) for name, each in training.categories.items()}:
        raise BuildError(pipeline.name, f"the categories must be the training's: {dict(training.categories)}")
    return training


def _accuracy(training: TabularTraining) -> LabelAccuracy:
    _, heldout = training.split()
    rows = [json.dumps(dict(each.values)).encode() for each in heldout]
    return LabelAccuracy("features", rows, [each.label for each in heldout])
