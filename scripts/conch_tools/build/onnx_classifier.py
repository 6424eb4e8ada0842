"""A ready ONNX file as a tabular classifier: its one input or one a column, its scores, the classes that it names.

The form of skl2onnx is known with and without its ZipMap, which puts the scores into a map that Triton cannot carry;
so is a plain graph with one tensor of scores. The answers are ONNX Runtime's on the file as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from conch_steps.onnx_backend.session import ort
from conch_tools.build.tabular_graph import ML_DOMAIN, NUMBERS, GraphInput, inputs_of, served_graph
from conch_tools.build.tabular_model import Column, Matrix, Scores, numbered_classes, require_usable
from conch_tools.check.rules.graph_version import NEWEST_OPSET, RUNTIME
from conch_tools.errors import BuildError, first_line

NEWEST_ML_OPSET = 5
"""Of ai.onnx.ml, which that runtime has as well."""
SCORES = ("probabilities", "output_probability", "probability", "logits", "scores")
"""What the scores are called where a graph has several outputs that could be them."""
SCORE_TYPES = ("tensor(float)", "tensor(double)")
PASSING_ON = ("Cast", "Identity", "Reshape", "Squeeze", "Flatten")
"""Operators behind which a tensor's values are the same."""


@dataclass(frozen=True)
class OnnxClassifier:
    """A TabularModel."""

    pipeline: str
    file: Path
    model: ModelProto
    session: Any
    inputs: Sequence[GraphInput]
    output: str
    """Of the graph, as ONNX Runtime gives it: a tensor, or a ZipMap's list of maps."""
    scores: str
    """The tensor of scores, which is within the graph where there is a ZipMap."""
    columns: Sequence[Column]
    labels: Sequence[str]
    keys: Sequence[Any]
    """The classes as a ZipMap's maps name them."""
    origin: Mapping[str, str]
    library: str = "onnxruntime"
    notes: Sequence[str] = ()

    def answers(self, rows: Matrix) -> Matrix:
        """Raises BuildError when the graph does not take the rows."""
        return _answers(self.pipeline, self.file, self.session, self.inputs, self.output, rows, self.keys)

    def graph(self, output: Scores) -> ModelProto:
        """The source's graph, which takes `rows`."""
        return served_graph(self.model, self.inputs, self.scores, output, len(self.labels), {})


def read_classifier(pipeline: str, file: Path, names: Sequence[str], origin: Mapping[str, str]) -> OnnxClassifier:
    """The classifier in a file, whose columns are called `names`, if there are some, and else as the graph does.

    Raises BuildError saying what the file is instead.
    """
    model = _read(pipeline, file)
    inputs = _inputs(pipeline, file, model)
    session = _session(pipeline, file)
    zipped = next((node for node in model.graph.node if node.domain == ML_DOMAIN and node.op_type == "ZipMap"), None)
    keys = [] if zipped is None else _class_labels(zipped)
    output = _scores_output(pipeline, file, session) if zipped is None else zipped.output[0]
    rows = np.zeros((2, sum(each.columns for each in inputs)), np.float32)
    classes = _answers(pipeline, file, session, inputs, output, rows, keys).shape[1]
    labels = [str(key) for key in keys] or _labels(model, classes) or numbered_classes(classes)
    columns = [Column(name) for name in _column_names(pipeline, file, inputs, names)]
    require_usable(pipeline, columns, labels)
    scores = output if zipped is None else zipped.input[0]
    return OnnxClassifier(pipeline, file, model, session, inputs, output, scores, columns, labels, keys, origin)


def _read(pipeline: str, file: Path) -> ModelProto:
    try:
        model = onnx.load(str(file))
    except (DecodeError, ValueError, onnx.checker.ValidationError) as problem:
        raise BuildError(pipeline, f"{file} is no ONNX model, or only a part of one") from problem
    if not model.graph.output:
        raise BuildError(pipeline, f"{file} is no ONNX model: it has no outputs")
    newest = {"": NEWEST_OPSET, "ai.onnx": NEWEST_OPSET, ML_DOMAIN: NEWEST_ML_OPSET}
    for each in model.opset_import:
        if each.version > newest.get(each.domain, each.version):
            raise BuildError(
                pipeline,
                f"{file} has operator set {each.version} of {each.domain or 'ai.onnx'}, {RUNTIME} knows "
                f"{newest[each.domain]} at most: export it again with opset {newest[each.domain]} or lower",
            )
    return model


def _session(pipeline: str, file: Path) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as problem:
        # Its exceptions have no common root.
        raise BuildError(pipeline, f"ONNX Runtime cannot load {file}: {first_line(problem)}") from problem


def _inputs(pipeline: str, file: Path, model: ModelProto) -> list[GraphInput]:
    found = []
    for value in inputs_of(model.graph):
        tensor = value.type.tensor_type
        dims = [each.dim_value for each in tensor.shape.dim]
        if tensor.elem_type not in NUMBERS:
            kind = TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type else "no tensor"
            raise BuildError(
                pipeline,
                f"{file}: its input `{value.name}` is {kind}, but the columns of a ready graph are numbers: "
                "give the scikit-learn model itself, which tells its categories",
            )
        if len(dims) != 2 or dims[1] < 1:
            raise BuildError(
                pipeline,
                f"{file}: its input `{value.name}` must be [n, columns] with a number of columns that is fixed: "
                "export it again with the shape of your data",
            )
        found.append(GraphInput(value.name, tensor.elem_type, dims[1]))
    return found


def _column_names(pipeline: str, file: Path, inputs: Sequence[GraphInput], names: Sequence[str]) -> Sequence[str]:
    columns = sum(each.columns for each in inputs)
    if names:
        if len(names) != columns:
            raise BuildError(pipeline, f"{file} takes {columns} columns, but its signature names {len(names)}")
        return names
    if len(inputs) > 1 and all(each.columns == 1 for each in inputs):
        return [each.name for each in inputs]
    return [f"feature_{index}" for index in range(columns)]


def _scores_output(pipeline: str, file: Path, session: Any) -> str:
    """The name of the output with a number for each class."""
    outputs = {each.name: each for each in session.get_outputs()}
    scores: list[str] = [
        name for name, each in outputs.items() if each.type in SCORE_TYPES and _may_be_scores(each.shape)
    ]
    named = [name for name in SCORES if name in scores]
    if len(scores) == 1:
        return scores[0]
    if named:
        return named[0]
    said = ", ".join(f"`{name}` {each.type} {each.shape}" for name, each in outputs.items())
    problem = "has no output" if not scores else "has several outputs"
    raise BuildError(
        pipeline,
        f"{file} is no classifier: it {problem} of scores [n, classes] for two classes or more, but {said}",
    )


def _may_be_scores(shape: Sequence[Any]) -> bool:
    """Of a shape in which dims that are open are names or None."""
    return len(shape) == 2 and not (isinstance(shape[1], int) and shape[1] < 2)


def _answers(
    pipeline: str,
    file: Path,
    session: Any,
    inputs: Sequence[GraphInput],
    output: str,
    rows: Matrix,
    keys: Sequence[Any],
) -> Matrix:
    feeds, start = {}, 0
    for given in inputs:
        part = rows[:, start : start + given.columns]
        feeds[given.name] = part.astype(onnx.helper.tensor_dtype_to_np_dtype(given.type))
        start += given.columns
    try:
        (answered,) = session.run([output], feeds)
    except Exception as problem:
        raise BuildError(
            pipeline,
            f"ONNX Runtime fails on {file} with {len(rows)} rows of {rows.shape[1]} columns: {first_line(problem)}",
        ) from problem
    if isinstance(answered, list):
        answered = np.array([[each[key] for key in keys] for each in answered], dtype=np.float32)
    if answered.ndim != 2 or len(answered) != len(rows):
        raise BuildError(
            pipeline, f"{file}: `{output}` is {list(answered.shape)} for {len(rows)} rows, not [n, classes]"
        )
    if answered.shape[1] < 2:
        raise BuildError(
            pipeline, f"{file} is no classifier: `{output}` is one number a row, not a score for each of its classes"
        )
    return np.asarray(answered, dtype=np.float32)


def _labels(model: ModelProto, classes: int) -> list[str]:
    """The names that a classifier of ai.onnx.ml gives its classes; none where nothing in the graph does."""
    for found in _named_classes(model):
        if len(found) == classes:
            return [str(each) for each in found]
    return []


def _named_classes(model: ModelProto) -> Iterator[Sequence[Any]]:
    """From the end of the graph: a stacked classifier's parts name classes as well, before it does."""
    tensors = {each.name: each for each in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in reversed(model.graph.node):
        if node.domain != ML_DOMAIN:
            continue
        yield _class_labels(node)
        # skl2onnx looks the best class up in a list.
        if node.op_type == "ArrayFeatureExtractor":
            name = node.input[0]
            while name in makers and makers[name].op_type in PASSING_ON:
                name = makers[name].input[0]
            if name in tensors and tensors[name].data_type in (
                TensorProto.STRING,
                TensorProto.INT64,
                TensorProto.INT32,
            ):
                yield _plain(numpy_helper.to_array(tensors[name]).reshape(-1).tolist())


def _class_labels(node: NodeProto) -> list[Any]:
    for attribute in node.attribute:
        if attribute.name.startswith("classlabels_"):
            return list(attribute.ints) or _plain(attribute.strings)
    return []


def _plain(values: Sequence[Any]) -> list[Any]:
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
