"""Logits become named classes with scores, best first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conch_steps.class_labels import ACTIVATION, ClassLabels, read_labels, scored_input
from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.serving import StepModel

LABELS = ["low", "middle", "high"]
softmax = ClassLabels(LABELS, "softmax")
sigmoid = ClassLabels(LABELS, "sigmoid")


def logits(*rows: list[float]) -> npt.NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def test_classes_come_best_first_with_scores_that_add_up_to_one() -> None:
    answer = softmax.rank(logits([0, 2, 1], [5, 0, 0]))
    assert answer["label"].tolist() == [[b"middle", b"high", b"low"], [b"low", b"middle", b"high"]]
    assert answer["score"].dtype == np.float32
    np.testing.assert_allclose(answer["score"][0], np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum(), rtol=1e-6)


def test_sigmoid_scores_every_class_for_itself() -> None:
    np.testing.assert_allclose(sigmoid.rank(logits([0, -1, 1]))["score"], [[0.731059, 0.5, 0.268941]], rtol=1e-5)


def test_without_an_activation_scores_are_the_probabilities_given() -> None:
    answer = ClassLabels(LABELS, "none").rank(logits([0.25, 0.5, 0.25], [0, 0, 1]))
    assert answer["score"].tolist() == [[0.5, 0.25, 0.25], [1, 0, 0]]
    assert answer["label"][1].tolist() == [b"high", b"low", b"middle"]


def test_equal_scores_keep_the_order_of_the_labels() -> None:
    assert softmax.rank(logits([1, 1, 1]))["label"].tolist() == [[b"low", b"middle", b"high"]]


@pytest.mark.parametrize(("wish", "count"), [(None, 3), (1, 1), (2, 2), (3, 3), (99, 3), ("2", 2), (10**30, 3)])
def test_top_k_limits_the_classes(wish: Any, count: int) -> None:
    answer = softmax.rank(logits([0, 2, 1], [5, 0, 0]), wish)
    assert answer["label"].shape == answer["score"].shape == (2, count)
    assert answer["label"][0, 0] == b"middle"


@pytest.mark.parametrize("wish", [0, -1, 1.5, "many", "", True, [1], "9" * 5000])
def test_a_top_k_that_is_no_number_from_one_on_is_refused_in_short(wish: Any) -> None:
    with pytest.raises(InvalidInput, match=r"parameter `top_k` is .* whole number from 1 on") as refused:
        softmax.rank(logits([0, 2, 1]), wish)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_give_no_scores_are_the_models_fault(value: float) -> None:
    with pytest.raises(WrongAnswer, match="give no scores"):
        softmax.rank(logits([0, value, 1]))


def test_a_model_with_other_classes_than_the_file_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="the model gives 2 logits, the labels file names 3 classes"):
        softmax.rank(logits([0, 1]))


finite_rows = arrays(np.float32, (4, 3), elements=st.floats(-(2.0**90), 2.0**90, width=32))


@given(finite_rows)
def test_any_finite_logits_are_ranked_without_overflow(rows: npt.NDArray[np.float32]) -> None:
    for classes in (softmax, sigmoid):
        answer = classes.rank(rows)
        assert ((answer["score"] >= 0) & (answer["score"] <= 1)).all()
        assert (np.diff(answer["score"], axis=1) <= 0).all()
        assert {tuple(sorted(row)) for row in answer["label"].tolist()} == {(b"high", b"low", b"middle")}


def test_labels_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("caf\u00e9\r\ntwo words\x85of one line\n", encoding="utf-8", newline="")
    assert read_labels(path) == ["caf\u00e9", "two words\x85of one line"]


@pytest.mark.parametrize("content", [b"", b"\n", b"a\n\nb\n"])
def test_a_labels_file_with_empty_lines_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ModelConfigError, match=r"labels\.txt must name one class a line"):
        read_labels(tmp_path / "labels.txt")


def test_a_labels_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ModelConfigError, match=r"labels\.txt is not UTF-8"):
        read_labels(tmp_path / "labels.txt")


def test_a_missing_labels_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"labels\.txt is missing: run `conch build`"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "none"])
def test_an_activation_is_one_of_three(name: str) -> None:
    assert ACTIVATION.of(StepModel("m", Path(), {"activation": name})) == name


def test_any_other_activation_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="'relu', but must be softmax, sigmoid or none"):
        ACTIVATION.of(StepModel("m", Path(), {"activation": "relu"}))


def test_probabilities_are_called_so() -> None:
    assert scored_input(StepModel("m", Path(), {"activation": "none"})) == "probabilities"
    assert scored_input(StepModel("m", Path(), {})) == "logits"
