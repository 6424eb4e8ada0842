"""A small forecasting network with prediction intervals, trained on the monthly CO2 record of Mauna Loa.

The network is a linear map of the last eight years to the next five, which carries season and trend, and a perceptron
beside it that corrects the middle and says how wide the interval is. It meets the series upside down, under random
trends, noise and walks, and cut to any length as well, because users send other series than this one.

The record is cut in time: the network learns from the first stretch, the widths of its interval are set on the second
and everything is measured on the third, the last ten years. The widths follow conformalized quantile regression
(Y. Romano, E. Patterson, E. Candes, NeurIPS 2019), here as a factor on each side and step: the calibration stretch's
scores are relative to the network's own width, and their (n + 1)-corrected quantile is what the width is stretched by,
never below 1.

Data: C. D. Keeling, T. P. Whorf, Atmospheric CO2 concentrations derived from flask air samples at sites in the SIO
network, Carbon Dioxide Information Analysis Center, 2004; public domain, in the package statsmodels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from conch_steps.forecasting import SeriesWindow
from conch_tools.training import DATA, Report

Floats = npt.NDArray[np.float32]

labels: Sequence[str] = ()
"""None: a forecaster names no classes."""
WEIGHTS = DATA / "forecast" / "network.safetensors"
WINDOW = 96
STEPS = 60
LEVELS = (0.05, 0.5, 0.95)
"""Quantiles of the answer: an interval of 90 % and its middle."""

HELDOUT = 120
CALIBRATION = 96
HIDDEN = 64
SEED = 7
UPDATES = 700
PEAK_LEARNING_RATE = 3e-3
SHORT_SHARE = 0.3
TREND, NOISE, WALK = 0.02, 0.5, 0.2
"""Sizes, a step, of the random trends, noise and walks, in units of the window's mean absolute deviation."""
NOISY_SHARE = 0.3
"""This share of the windows gets noise, and as many a walk, so that the interval answers to what cannot be foreseen."""


class ForecastNetwork(torch.nn.Module):
    """FP32 [n, 2, WINDOW] to quantiles FP32 [n, STEPS, 3], lower, middle and upper, which never cross."""

    below: torch.Tensor
    above: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(2 * WINDOW, STEPS)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(2 * WINDOW, HIDDEN),
            torch.nn.GELU(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.GELU(),
            torch.nn.Linear(HIDDEN, 3 * STEPS),
        )
        self.register_buffer("below", torch.ones(STEPS))
        self.register_buffer("above", torch.ones(STEPS))

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        flat = window.flatten(1)
        middle, below, above = self.layers(flat).reshape(-1, 3, STEPS).unbind(1)
        middle = middle + self.line(flat)
        lower = middle - torch.nn.functional.softplus(below) * self.below
        upper = middle + torch.nn.functional.softplus(above) * self.above
        return torch.stack([lower, middle, upper], dim=2)


def load() -> ForecastNetwork:
    """The trained and calibrated network."""
    network = ForecastNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()


@functools.cache
def series() -> npt.NDArray[np.float32]:
    """Monthly means in parts per million, March 1958 to December 2001, its few gaps filled by straight lines."""
    # Here and not above: reading what was trained needs no data.
    from statsmodels.datasets import co2

    weekly = co2.load_pandas().data["co2"]
    return np.asarray(weekly.resample("MS").mean().interpolate(), dtype=np.float32)


def train(report: Report) -> None:
    """Train, calibrate and write the network's weights."""
    torch.manual_seed(SEED)
    end = len(series()) - HELDOUT
    network = fitted(series()[: end - CALIBRATION], UPDATES, report)
    calibrate(network, series()[:end])
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), WEIGHTS)


def fitted(values: Floats, updates: int, report: Report) -> ForecastNetwork:
    """A network that has learned from `values` FP32 [any]; its widths are as learned, not calibrated."""
    network = ForecastNetwork().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=updates)
    chance = np.random.default_rng(SEED)
    histories, futures = pairs(values, range(WINDOW, len(values)))
    for update in range(updates):
        window, target, weight = _varied(histories, futures, chance)
        loss = _pinball(network(window), target, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (update + 1) % 100 == 0:
            report(f"forecast: update {update + 1} of {updates}, loss {loss.item():.4f}")
    return network.eval()


def calibrate(network: ForecastNetwork, values: Floats) -> None:
    """Set the factors of the network's widths from its errors on the last CALIBRATION of `values`."""
    first = len(values) - CALIBRATION
    histories, futures = pairs(values, range(first - STEPS + 1, len(values)))
    futures[np.add.outer(np.arange(len(futures)), np.arange(STEPS)) < STEPS - 1] = np.nan
    window, target, _ = _normalised(histories, futures)
    with torch.no_grad():
        lower, middle, upper = network(window).unbind(2)
    network.below.copy_(_corrected_quantile((middle - target) / (middle - lower), LEVELS[2]))
    network.above.copy_(_corrected_quantile((target - middle) / (upper - middle), LEVELS[2]))


def pairs(values: Floats, origins: Sequence[int]) -> tuple[Floats, Floats]:
    """The WINDOW values before each origin, FP32 [n, WINDOW], and the STEPS from it on, FP32 [n, STEPS], NaN beyond."""
    longer = np.concatenate([values, np.full(STEPS, np.nan, dtype=np.float32)])
    histories = np.stack([values[origin - WINDOW : origin] for origin in origins])
    return histories, np.stack([longer[origin : origin + STEPS] for origin in origins])


def _varied(
    histories: Floats, futures: Floats, chance: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pairs turned over or not, on random trends, noise and walks, at times all cut to one length; normalised."""
    both = np.concatenate([histories, futures], axis=1)
    rows = (len(both), 1)
    slopes = chance.normal(0.0, TREND, rows)
    noise = chance.normal(size=both.shape) * chance.exponential(NOISE, rows) * (chance.random(rows) < NOISY_SHARE)
    walk = chance.normal(size=both.shape) * chance.exponential(WALK, rows) * (chance.random(rows) < NOISY_SHARE)
    added = slopes * np.arange(both.shape[1]) + noise + walk.cumsum(axis=1)
    signs = chance.choice([-1.0, 1.0], rows)
    both = (signs * (both + added * _spread(histories))).astype(np.float32)
    kept = int(chance.integers(1, WINDOW)) if chance.random() < SHORT_SHARE else WINDOW
    window, target, scale = _normalised(both[:, WINDOW - kept : WINDOW], both[:, WINDOW:])
    # A short history may hardly move and make its future look enormous: errors count in the units of the whole one.
    return window, target, scale / torch.from_numpy(_spread(both[:, :WINDOW]))


def _spread(histories: Floats) -> Floats:
    """Mean absolute deviation of each, [n, 1]."""
    deviation: Floats = np.abs(histories - histories.mean(axis=1, keepdims=True)).mean(axis=1, keepdims=True)
    return deviation


def _normalised(histories: Floats, futures: Floats) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Windows as served, futures in the same units, and the units [n, 1]; a history that does not move has unit 1."""
    prepared = SeriesWindow(WINDOW, STEPS).prepare(histories, np.ones((len(histories), 1), dtype=np.int32))
    newest, scale = prepared["level"][:, :1], prepared["level"][:, 1:]
    target = ((futures - newest) / np.where(scale > 0, scale, 1.0)).astype(np.float32)
    return torch.from_numpy(prepared["window"]), torch.from_numpy(target), torch.from_numpy(scale.astype(np.float32))


def _pinball(quantiles: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean quantile loss over the steps whose future is known."""
    known = ~target.isnan()
    error = target.nan_to_num()[..., None] - quantiles
    levels = torch.tensor(LEVELS)
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(2) * weight
    return loss[known].mean()


def _corrected_quantile(scores: torch.Tensor, level: float) -> torch.Tensor:
    """Of each column of `scores` [n, steps], NaN left out, the quantile that holds for one more value like them."""
    columns = [column[~column.isnan()].sort().values for column in scores.T]
    ranks = [min(len(column), math.ceil((len(column) + 1) * level)) for column in columns]
    # Eight years hold hardly two futures of five years that are independent: reason enough to widen, never to narrow.
    return torch.stack([column[rank - 1] for column, rank in zip(columns, ranks, strict=True)]).clamp(min=1.0)
