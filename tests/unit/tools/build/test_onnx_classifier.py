"""A ready ONNX file as a classifier: what it takes, its classes, and what is no classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from conch_tools.build.onnx_classifier import OnnxClassifier, read_classifier
from conch_tools.errors import BuildError

HEAD = '<ir_version: 8, opset_import: ["": {opset}, "ai.onnx.ml": {ml}]>\n'
PLAIN = "agraph (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }"
LINEAR = (
    "ai.onnx.ml.LinearClassifier<coefficients = [1.0, 0.0, -1.0, 0.0], intercepts = [0.0, 0.0], multi_class = 0,"
    ' post_transform = "SOFTMAX", {classes}>'
)


def read(folder: Path, text: str, opset: int = 17, ml: int = 3, names: tuple[str, ...] = ()) -> OnnxClassifier:
    model = onnx.parser.parse_model(HEAD.format(opset=opset, ml=ml) + text)
    onnx.save(model, str(folder / "model.onnx"))
    return read_classifier("mine", folder / "model.onnx", names, {})


def test_a_plain_graph_has_numbered_features_and_classes(tmp_path: Path) -> None:
    classifier = read(tmp_path, PLAIN)
    assert [column.name for column in classifier.columns] == ["feature_0", "feature_1", "feature_2"]
    assert classifier.labels == ["class_0", "class_1", "class_2"]
    rows = np.array([[1, 2, 3]], np.float32)
    assert classifier.answers(rows).tolist() == [[-1, -2, -3]]


def test_names_that_a_signature_gives_are_taken(tmp_path: Path) -> None:
    assert [each.name for each in read(tmp_path, PLAIN, names=("a", "b", "c")).columns] == ["a", "b", "c"]
    with pytest.raises(BuildError, match="takes 3 columns, but its signature names 1"):
        read(tmp_path, PLAIN, names=("a",))


def test_inputs_of_a_column_each_name_the_features(tmp_path: Path) -> None:
    text = (
        "agraph (float[n, 1] age, int64[n, 1] rooms) => (float[n, 2] y)"
        "{ r = Cast<to = 1>(rooms)  y = Concat<axis = 1>(age, r) }"
    )
    classifier = read(tmp_path, text)
    assert [column.name for column in classifier.columns] == ["age", "rooms"]
    assert classifier.answers(np.array([[1.5, 2]], np.float32)).tolist() == [[1.5, 2]]


@pytest.mark.parametrize(
    ("classes", "labels"),
    [('classlabels_strings = ["no", "yes"]', ["no", "yes"]), ("classlabels_ints = [3, 7]", ["3", "7"])],
)
def test_classes_are_named_as_the_classifier_in_the_graph_names_them(
    tmp_path: Path, classes: str, labels: list[str]
) -> None:
    kind = "string" if "strings" in classes else "int64"
    text = f"agraph (float[n, 2] x) => ({kind}[n] label, float[n, 2] scores) {{ label, scores = {LINEAR}(x) }}"
    assert read(tmp_path, text.replace("{classes}", classes)).labels == labels


def test_a_zipmap_names_the_classes_and_is_answered_as_rows(tmp_path: Path) -> None:
    text = (
        "agraph (float[n, 2] x) => (seq(map(string, float)) maps)"
        '{ maps = ai.onnx.ml.ZipMap<classlabels_strings = ["no", "yes"]>(x) }'
    )
    classifier = read(tmp_path, text)
    assert classifier.labels == ["no", "yes"]
    assert classifier.answers(np.array([[0.25, 0.75]], np.float32)).tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize(
    ("text", "opset", "ml", "said"),
    [
        (PLAIN, 22, 3, "has operator set 22 of ai.onnx, ONNX Runtime 1.19.2 of release 24.10 knows 21 at most"),
        (PLAIN, 17, 6, "has operator set 6 of ai.onnx.ml"),
        ("agraph (string[n, 3] x) => (string[n, 3] y) { y = Identity(x) }", 17, 3, "`x` is STRING"),
        ("agraph (float[n, k] x) => (float[n, k] y) { y = Neg(x) }", 17, 3, "number of columns that is fixed"),
        ("agraph (float[n, 1] x) => (float[n, 1] y) { y = Neg(x) }", 17, 3, "is no classifier: it has no output"),
        ("agraph (float[n, 3] x) => (float[n, 3] y) { y = Foo(x) }", 17, 3, "ONNX Runtime cannot load"),
        (
            "agraph (float[n, 3] x) => (float[n, 3] a, float[n, 3] b) { a = Neg(x)  b = Abs(x) }",
            17,
            3,
            "has several outputs",
        ),
        ("agraph (float[1, 3] x) => (float[1, 3] y) { y = Neg(x) }", 17, 3, "fails on"),
    ],
)
def test_what_is_no_classifier_for_the_target_is_refused(
    tmp_path: Path, text: str, opset: int, ml: int, said: str
) -> None:
    with pytest.raises(BuildError) as refused:
        read(tmp_path, text, opset, ml)
    assert said in refused.value.problem
    assert "\n" not in refused.value.problem


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BuildError, match="is no ONNX model"):
        read_classifier("mine", tmp_path / "model.onnx", (), {})
