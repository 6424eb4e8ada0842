"""Several models' probabilities become their weighted average."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conch_steps.errors import ArtifactError, ModelConfigError, WrongAnswer
from conch_steps.soft_vote import SoftVote, read_members

probabilities = arrays(np.float32, (5, 2), elements=st.floats(0, 1, width=32))
OPINIONS = {
    "a": np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32),
    "b": np.array([[0.5, 0.5], [0.6, 0.4]], dtype=np.float32),
}


def test_the_answer_is_the_weighted_average_and_only_proportions_count() -> None:
    expected = [[0.8, 0.2], [0.3, 0.7]]
    for weights in ({"a": 3, "b": 1}, {"a": 0.75, "b": 0.25}):
        answer = SoftVote(weights).average(OPINIONS.__getitem__)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected, atol=1e-7)


def test_a_weight_of_zero_is_no_voice() -> None:
    assert SoftVote({"a": 0, "b": 2}).average(OPINIONS.__getitem__).tolist() == OPINIONS["b"].tolist()


@given(probabilities, probabilities, st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_average_equals_numpy_s_in_double_precision(
    a: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    b: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    first: float,
    second: float,
) -> None:
    answer = SoftVote({"a": first, "b": second}).average({"a": a, "b": b}.__getitem__)
    expected = np.average(np.stack([a, b]).astype(np.float64), axis=0, weights=[first, second])
    np.testing.assert_allclose(answer, expected, atol=1e-7)


def test_answers_of_different_shapes_are_no_vote() -> None:
    opinions = {**OPINIONS, "b": OPINIONS["b"][:1]}
    with pytest.raises(WrongAnswer, match=r"differ in shape: a \[2, 2\], b \[1, 2\]"):
        SoftVote({"a": 1, "b": 1}).average(opinions.__getitem__)


def test_a_member_whose_answer_is_no_number_is_named() -> None:
    opinions = {**OPINIONS, "b": np.full((2, 2), np.nan, dtype=np.float32)}
    with pytest.raises(WrongAnswer, match="member `b` gives no probabilities"):
        SoftVote({"a": 1, "b": 1}).average(opinions.__getitem__)


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 2, "b": -1}, {"a": float("inf")}, {"a": float("nan")}])
def test_weights_that_give_no_average_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ModelConfigError, match="must be zero or more"):
        SoftVote(weights)


def test_members_are_read_with_their_weights(tmp_path: Path) -> None:
    path = tmp_path / "members.json"
    path.write_text('{"a": 2, "b": 0.5}')
    assert read_members(path) == {"a": 2.0, "b": 0.5}


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "much"}', '{"a": null}'])
def test_members_that_are_no_weights_are_refused_by_their_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "members.json").write_text(content)
    with pytest.raises(ModelConfigError, match=r"members\.json must hold an object"):
        read_members(tmp_path / "members.json")


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"members\.json is missing: run `conch build`"):
        read_members(tmp_path / "members.json")
