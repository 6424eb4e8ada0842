"""A tabular classifier as small as it can be, whose releases are told apart by every answer.

It is what `conch new` writes of the ONNX file of a logistic regression, and built as any other, in seconds.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from conch_tools.build.builder import builder_of
from conch_tools.build.staging import Staged, fingerprint_of
from conch_tools.pipelines import load_pipeline

ROWS = [{"feature_0": float(a), "feature_1": float(b)} for a, b in ((0, 0), (0, 1), (1, 0), (2, 1))]
TOLERANCE = 1e-4
PIPELINE = """
task = "tabular-classification"
description = "Which class a row of named values belongs to."
[source]
file = "../../{name}.onnx"
[features]
feature_0 = {{ type = "numeric", minimum = -1e9, maximum = 1e9 }}
feature_1 = {{ type = "numeric", minimum = -1e9, maximum = 1e9 }}
"""
SAMPLE = """
[[samples]]
input = {{ features = {{ feature_0 = {feature_0}, feature_1 = {feature_1} }} }}
expect = {{ label = "{label}" }}
"""
ENSEMBLE = """
name: "NAME"
platform: "ensemble"
max_batch_size: 64
input [ { name: "features" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "label" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "score" data_type: TYPE_FP32 dims: [ -1 ] }
]
ensemble_scheduling {
  step [
    {
      model_name: "NAME_features"
      model_version: -1
      input_map { key: "features" value: "features" }
      output_map { key: "rows" value: "rows" }
    },
    {
      model_name: "NAME_model"
      model_version: -1
      input_map { key: "rows" value: "rows" }
      output_map { key: "probabilities" value: "probabilities" }
    },
    {
      model_name: "NAME_labels"
      model_version: -1
      input_map { key: "probabilities" value: "probabilities" }
      output_map { key: "label" value: "label" }
      output_map { key: "score" value: "score" }
    }
  ]
}
"""
FEATURES = """
name: "NAME_features"
backend: "tabular_features"
max_batch_size: 64
input [ { name: "features" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "rows" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { count: 1 } ]
dynamic_batching {}
"""
MODEL = """
name: "NAME_model"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "rows" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { count: 1 } ]
dynamic_batching {}
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""
LABELS = """
name: "NAME_labels"
backend: "class_labels"
max_batch_size: 64
input [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [
  { name: "label" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "score" data_type: TYPE_FP32 dims: [ -1 ] }
]
instance_group [ { count: 1 } ]
dynamic_batching {}
parameters { key: "activation" value { string_value: "none" } }
"""
CONFIGS = {"": ENSEMBLE, "_features": FEATURES, "_model": MODEL, "_labels": LABELS}


@dataclass(frozen=True)
class Trained:
    """One model, and what it answers to ROWS."""

    labels: tuple[str, str]
    scores: Any
    """Of the labels, in their order, a row each."""

    def answers(self, row: int, scores: dict[str, float]) -> bool:
        """Whether an answer to a row is this model's."""
        return scores.keys() == set(self.labels) and np.allclose(
            [scores[label] for label in self.labels], self.scores[row], rtol=0, atol=TOLERANCE
        )


def train(file: Path, labels: tuple[str, str], strength: float) -> Trained:
    """Write a model whose scores `strength` decides."""
    points = np.array([[row["feature_0"], row["feature_1"]] for row in ROWS], dtype=np.float32)
    classes = np.array([labels[0], labels[1], labels[0], labels[1]])
    model = LogisticRegression(C=strength).fit(points, classes)
    onnx.save(to_onnx(model, points[:1], target_opset=17), str(file))
    order = [list(model.classes_).index(label) for label in labels]
    return Trained(labels, model.predict_proba(points)[:, order])


def write_pipeline(repository: Path, name: str, trained: Trained) -> None:
    """Write the folders of a pipeline, as `conch new` does; of one that is there the pipeline.toml alone. Its source is
    the file `NAME.onnx` beside the repository."""
    samples = "".join(
        SAMPLE.format(label=trained.labels[int(np.argmax(trained.scores[row]))], **ROWS[row]) for row in (0, -1)
    )
    folder = repository / name
    is_new = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.toml").write_text(PIPELINE.format(name=name) + samples)
    for model, config in CONFIGS.items() if is_new else ():
        (repository / f"{name}{model}").mkdir(exist_ok=True)
        (repository / f"{name}{model}" / "config.pbtxt").write_text(config.replace("NAME", name))


def make_release(repository: Path, name: str, labels: tuple[str, str], strength: float, number: int) -> Trained:
    """Train, write and stage one release, and move it into the repository: what `conch build` does, but for the proof
    that it answers as its source does."""
    trained = train(repository.parent / f"{name}.onnx", labels, strength)
    write_pipeline(repository, name, trained)
    pipeline = load_pipeline(repository / name)
    with tempfile.TemporaryDirectory() as staging:
        staged = Staged.fresh(pipeline, Path(staging), str(number))
        builder_of(pipeline).stage(staged)
        staged.write_manifests({"accuracy": 1.0}, fingerprint_of(pipeline))
        staged.promote(repository)
    return trained
