"""The forecaster's training: the record is cut in time, the recipe learns, and calibration only widens."""

import numpy as np
import pytest
import torch

from conch_steps.forecasting import SeriesWindow
from conch_tools.training import forecast

MAX_WEIGHTS_BYTES = 3_000_000


@pytest.fixture(scope="module")
def brief() -> forecast.ForecastNetwork:
    end = len(forecast.series()) - forecast.HELDOUT - forecast.CALIBRATION
    return forecast.fitted(forecast.series()[:end], 60, lambda line: None)


def heldout() -> tuple[forecast.Floats, forecast.Floats]:
    series = forecast.series()
    return forecast.pairs(series, range(len(series) - forecast.HELDOUT, len(series) - forecast.STEPS + 1))


def error(network: forecast.ForecastNetwork) -> float:
    """Mean absolute error on the held-out stretch, in parts per million."""
    histories, futures = heldout()
    ones = np.ones((len(histories), 1), dtype=np.int32)
    prepared = SeriesWindow(forecast.WINDOW, forecast.STEPS).prepare(histories, ones)
    with torch.no_grad():
        middle = network(torch.from_numpy(prepared["window"]))[..., 1].numpy()
    return float(np.abs(prepared["level"][:, :1] + prepared["level"][:, 1:] * middle - futures).mean())


def test_the_record_is_whole_and_monthly() -> None:
    assert len(forecast.series()) == 526
    assert np.isfinite(forecast.series()).all()


def test_committed_weights_are_small() -> None:
    assert forecast.WEIGHTS.stat().st_size <= MAX_WEIGHTS_BYTES


def test_the_committed_network_beats_the_last_year_repeated() -> None:
    histories, futures = heldout()
    naive = np.tile(histories[:, -12:], 5)
    assert error(forecast.load()) < 0.3 * np.abs(naive - futures).mean()


def test_a_brief_training_from_the_same_recipe_learns(brief: forecast.ForecastNetwork) -> None:
    assert error(brief) < 0.5 * error(forecast.ForecastNetwork().eval())


def test_quantiles_never_cross() -> None:
    windows = torch.randn(64, 2, forecast.WINDOW) * 5
    with torch.no_grad():
        lower, middle, upper = forecast.load()(windows).unbind(2)
    assert bool((lower <= middle).all()) and bool((middle <= upper).all())


def test_calibration_widens_until_the_calibration_stretch_is_covered(brief: forecast.ForecastNetwork) -> None:
    series = forecast.series()[: -forecast.HELDOUT]
    forecast.calibrate(brief, series)
    assert bool((brief.below >= 1).all()) and bool((brief.above >= 1).all())
    first = len(series) - forecast.CALIBRATION
    histories, futures = forecast.pairs(series, range(first, len(series) - forecast.STEPS + 1))
    ones = np.ones((len(histories), 1), dtype=np.int32)
    prepared = SeriesWindow(forecast.WINDOW, forecast.STEPS).prepare(histories, ones)
    with torch.no_grad():
        quantiles = brief(torch.from_numpy(prepared["window"])).numpy()
    values = prepared["level"][:, :1, None] + prepared["level"][:, 1:, None] * quantiles
    covered = (values[..., 0] <= futures) & (futures <= values[..., 2])
    assert covered.mean() > forecast.LEVELS[2] - forecast.LEVELS[0] - 0.05


def test_pairs_stop_where_the_series_stops() -> None:
    series = np.arange(200, dtype=np.float32)
    histories, futures = forecast.pairs(series, range(198, 200))
    assert histories[0, -1] == 197 and futures[0, :2].tolist() == [198, 199]
    assert np.isnan(futures[0, 2:]).all() and np.isnan(futures[1, 1:]).all()
