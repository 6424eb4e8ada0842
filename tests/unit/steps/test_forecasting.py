"""Histories become windows without size or level, and quantiles become values again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.forecasting import LARGEST, SeriesWindow, restore

LENGTH, STEPS = 8, 6
WINDOWS = SeriesWindow(LENGTH, STEPS)
Floats = npt.NDArray[np.float32]

values = st.floats(width=32, allow_nan=False, allow_infinity=False)


def rows(*histories: list[float]) -> Floats:
    return np.array(histories, dtype=np.float32)


def horizons(*steps: int) -> npt.NDArray[np.int32]:
    return np.array(steps, dtype=np.int32).reshape(-1, 1)


def prepare(*histories: list[float], horizon: int = 1) -> dict[str, npt.NDArray[Any]]:
    return WINDOWS.prepare(rows(*histories), horizons(*[horizon] * len(histories)))


def test_a_window_is_measured_from_the_newest_value_in_mean_absolute_deviations() -> None:
    prepared = prepare([1, 3, 1, 3, 1, 3, 1, 3])
    assert prepared["level"].tolist() == [[3, 1]]
    assert prepared["window"].tolist() == [[[-2, 0] * 4, [1] * LENGTH]]


def test_only_the_newest_values_of_a_long_history_count() -> None:
    newest = [4.0, 8, 1, 5, 2, 9, 3, 7]
    assert np.array_equal(prepare([1e30, -50, *newest])["window"], prepare(newest)["window"])


def test_a_short_history_is_marked_and_not_padded_with_values() -> None:
    window = prepare([2, 4])["window"]
    assert window[0, 1].tolist() == [0] * 6 + [1, 1]
    assert window[0, 0].tolist() == [0] * 6 + [-2, 0]


@pytest.mark.parametrize("history", [[5.0], [0.1] * 7, [-1e38] * 30])
def test_equal_values_have_no_scale_and_a_window_of_zeros(history: list[float]) -> None:
    prepared = prepare(history)
    assert prepared["level"].tolist() == [[float(np.float32(history[0])), 0]]
    assert not prepared["window"][:, 0].any()


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12, 1e30])
def test_a_series_in_other_units_has_the_same_window(unit: float) -> None:
    series = [4.0, 8, 1, 5, 2, 9, 3, 7]
    np.testing.assert_allclose(
        prepare([each * unit for each in series])["window"], prepare(series)["window"], rtol=1e-6
    )


@given(st.lists(values, min_size=1, max_size=20), st.integers(1, STEPS))
def test_any_finite_history_gives_a_finite_window_and_a_finite_forecast(history: list[float], horizon: int) -> None:
    prepared = prepare(history, horizon=horizon)
    assert np.isfinite(prepared["window"]).all()
    quantiles = np.tile(np.array([-9, 0, 9], dtype=np.float32), (1, STEPS, 1))
    answer = restore(quantiles, prepared["level"], horizons(horizon))
    assert all(answer[name].shape == (1, horizon) and np.isfinite(answer[name]).all() for name in answer)
    assert (answer["lower"] <= answer["forecast"]).all() and (answer["forecast"] <= answer["upper"]).all()


def test_quantiles_come_back_in_the_units_of_the_series() -> None:
    quantiles = np.tile(np.array([-1, 0.5, 2], dtype=np.float32), (2, STEPS, 1))
    answer = restore(quantiles, np.array([[10.0, 4.0], [0.0, 1.0]]), horizons(2, 2))
    assert answer["lower"].tolist() == [[6, 6], [-1, -1]]
    assert answer["forecast"].tolist() == [[12, 12], [0.5, 0.5]]
    assert answer["upper"].tolist() == [[18, 18], [2, 2]]
    assert {value.dtype for value in answer.values()} == {np.dtype(np.float32)}


def test_values_beyond_float32_become_its_largest() -> None:
    quantiles = np.full((1, STEPS, 3), 9, dtype=np.float32)
    answer = restore(quantiles, np.array([[3e38, 3e38]]), horizons(1))
    assert answer["forecast"][0, 0] == np.float32(LARGEST)


@pytest.mark.parametrize("wrong", [0, -3, STEPS + 1, 2**31 - 1, -(2**31)])
def test_a_horizon_out_of_range_is_refused_with_the_range(wrong: int) -> None:
    with pytest.raises(InvalidInput, match=rf"`horizon` is {wrong}, but must be between 1 and {STEPS}"):
        prepare([1, 2], horizon=wrong)


def test_rows_with_different_horizons_are_refused_in_both_steps() -> None:
    with pytest.raises(InvalidInput, match=r"`horizon` differs between the rows of this request \(2, 5\)"):
        WINDOWS.prepare(rows([1, 2], [3, 4]), horizons(5, 2))
    with pytest.raises(InvalidInput, match="`horizon` differs"):
        restore(np.zeros((2, STEPS, 3), dtype=np.float32), np.zeros((2, 2)), horizons(5, 2))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_named(wrong: float) -> None:
    with pytest.raises(InvalidInput, match=r"`history`\[1\]\[2\] is -?(nan|inf)"):
        prepare([1, 2, 3], [1, 2, wrong])


def test_an_empty_history_is_refused() -> None:
    with pytest.raises(InvalidInput, match="`history` is empty"):
        prepare([])


def test_quantiles_that_are_no_numbers_are_the_models_fault() -> None:
    with pytest.raises(WrongAnswer, match="not finite"):
        restore(np.full((1, STEPS, 3), np.nan, dtype=np.float32), np.array([[1.0, 1.0]]), horizons(1))
