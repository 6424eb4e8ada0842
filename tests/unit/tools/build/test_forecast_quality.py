"""The measure of a forecaster, on series whose figures can be said beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conch_tools.build.forecast_quality import RollingForecast

SEASON, STEPS, HELDOUT = 4, 6, 60
SERIES = (np.arange(200) + 1000 * (np.arange(200) % SEASON)).astype(np.float32)
"""Rises by 1 a step on top of a season: seasonal-naive is off by SEASON for every season ahead."""

QUALITY = RollingForecast(SERIES, HELDOUT, SEASON, STEPS)
Tensors = Mapping[str, npt.NDArray[Any]]


def forecaster(error: float, width: float) -> Any:
    """Knows the future, is wrong by `error` and has an interval of `width` on each side."""

    def ask(tensors: Tensors) -> Tensors:
        starts = [int(np.flatnonzero(history[-1] == SERIES)[-1]) + 1 for history in tensors["history"]]
        values = np.stack([SERIES[start : start + STEPS] + error for start in starts])
        assert tensors["horizon"].tolist() == [[STEPS]] * len(starts)
        return {"forecast": values, "lower": values - width, "upper": values + width}

    return ask


def test_a_perfect_forecast_has_no_error_and_covers_everything() -> None:
    assert QUALITY.measure(forecaster(0, 0)) == {"mase": 0, "error_ratio": 0, "coverage": 1}


def test_errors_count_in_units_of_the_seasonal_naive_forecast() -> None:
    figures = QUALITY.measure(forecaster(2, 1))
    assert figures["mase"] == pytest.approx(2 / SEASON)
    assert figures["error_ratio"] == pytest.approx(2 / (SEASON * (4 * 1 + 2 * 2) / STEPS))
    assert figures["coverage"] == 0


def test_the_seasonal_naive_forecast_itself_has_a_ratio_of_one() -> None:
    def naive(tensors: Tensors) -> Tensors:
        values = np.stack([np.tile(history[-SEASON:], 2)[:STEPS] for history in tensors["history"]])
        return {"forecast": values, "lower": values, "upper": values}

    assert QUALITY.measure(naive)["error_ratio"] == pytest.approx(1)


def test_no_history_holds_a_value_that_is_to_be_forecast_and_every_origin_is_asked() -> None:
    asked: list[float] = []

    def ask(tensors: Tensors) -> Tensors:
        asked.extend(tensors["history"][:, -1].tolist())
        return forecaster(0, 0)(tensors)  # type: ignore[no-any-return]

    QUALITY.measure(ask)
    first = len(SERIES) - HELDOUT
    assert asked == SERIES[first - 1 : len(SERIES) - STEPS].tolist()
