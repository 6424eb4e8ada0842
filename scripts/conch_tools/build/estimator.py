"""A scikit-learn classifier in a file: what it tells of itself, its graph by skl2onnx, its answers by predict_proba.

The model itself never comes into this process: see apart.py. A pickle is loaded only where its user says that it may
run code; skops' format holds data, so it needs no such word.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from conch_tools.build.apart import ask_apart
from conch_tools.build.estimator_apart import SKOPS
from conch_tools.build.tabular_graph import OPSETS, GraphInput, inputs_of, served_graph
from conch_tools.build.tabular_model import Column, Matrix, Scores, require_usable
from conch_tools.errors import BuildError

MODULE = "conch_tools.build.estimator_apart"
PICKLES = (".joblib", ".pkl", ".pickle")


@dataclass(frozen=True)
class SklearnClassifier:
    """A TabularModel."""

    pipeline: str
    file: Path
    runs_code: bool
    columns: Sequence[Column]
    labels: Sequence[str]
    converted: bytes
    """What skl2onnx made of it, an ONNX file."""
    notes: Sequence[str]
    origin: Mapping[str, str]
    library: str = "scikit-learn"

    def answers(self, rows: Matrix) -> Matrix:
        """predict_proba's. Raises BuildError with what the model says of the rows."""
        _, scores, _ = _asked(self.pipeline, self.file, self.runs_code, rows=rows)
        # As the server's: of classes that tie there, either may come first.
        return np.asarray(scores, dtype=np.float32)

    def graph(self, output: Scores) -> ModelProto:
        """What skl2onnx made of the model."""
        model = onnx.load_from_string(self.converted)
        inputs = [
            GraphInput(each.name, each.type.tensor_type.elem_type, each.type.tensor_type.shape.dim[1].dim_value)
            for each in inputs_of(model.graph)
        ]
        categories = {index: column.values for index, column in enumerate(self.columns) if column.values}
        scores = model.graph.output[1].name
        return served_graph(model, inputs, scores, output, len(self.labels), categories)


def read_estimator(
    pipeline: str, file: Path, runs_code: bool, signature: Mapping[str, str], origin: Mapping[str, str]
) -> SklearnClassifier:
    """The classifier in a file, whose columns MLflow's `signature` may name: types by name, none where it has none.

    Raises BuildError for a pickle that is not trusted, for a kind of model that skl2onnx does not know, and saying
    what the file is instead of a classifier.
    """
    if file.suffix in PICKLES and not runs_code:
        raise BuildError(
            pipeline,
            f"{file} is a pickle: loading it runs any code that is in it. If you trust who made it, set "
            "runs_code = true in [source], or give --trust to conch new; or save it by skops.io.dump",
        )
    # All at once: a process that has loaded scikit-learn is the dearest part.
    told, _, converted = _asked(pipeline, file, runs_code, opsets=OPSETS)
    columns = [Column(each["name"], each["values"], usual=each["usual"]) for each in told["columns"]]
    if signature:
        columns = _as_signed(pipeline, file, columns, signature)
    require_usable(pipeline, columns, told["labels"])
    notes = _notes(file, runs_code, told)
    return SklearnClassifier(pipeline, file, runs_code, columns, told["labels"], converted or b"", notes, origin)


def _asked(
    pipeline: str, file: Path, runs_code: bool, opsets: Mapping[str, int] | None = None, rows: Matrix | None = None
) -> Any:
    return ask_apart(pipeline, MODULE, {"file": str(file), "runs_code": runs_code, "opsets": opsets}, rows)


def _as_signed(pipeline: str, file: Path, columns: Sequence[Column], signature: Mapping[str, str]) -> list[Column]:
    if len(signature) != len(columns):
        raise BuildError(
            pipeline, f"{file} takes {len(columns)} columns, but its signature names {len(signature)}: log it again"
        )
    own = [column.name for column in columns]
    # A model that was fitted without names has its columns in the signature's order.
    names = own if set(own) == signature.keys() else list(signature)
    signed = []
    for column, name in zip(columns, names, strict=True):
        kind = signature[name]
        if kind == "string" and not column.values:
            raise BuildError(
                pipeline,
                f"column {name!r} is a text, but the model tells no categories of it: encode it by OneHotEncoder",
            )
        truth = kind == "boolean" and not column.values
        signed.append(dataclasses.replace(column, name=name, truth=truth))
    return signed


def _notes(file: Path, runs_code: bool, told: Mapping[str, Any]) -> list[str]:
    notes = []
    if runs_code and file.suffix != SKOPS:
        notes.append(f"{file.name} is a pickle and may run code: it was loaded in a process without network")
    if (saved := told["made_with"]) is not None:
        here = importlib.metadata.version("scikit-learn")
        notes.append(
            f"{file.name} was saved by scikit-learn {saved} and loaded by {here}, which may answer otherwise: "
            "save it again with that version"
        )
    return notes
