"""Histories of any length and magnitude to the window that a forecasting network takes, and its quantiles back.

The network sees how a series moves, never how large it is: a window begins anew at the last value and is measured in
the series' own mean absolute deviation. That is done here and in float64, so that a series around 1e12 or 1e-12 loses
nothing. A history shorter than the window is marked as such and not padded with invented values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.parameters import Declaration, whole_number

Floats = npt.NDArray[np.float32]
Tensors = dict[str, npt.NDArray[Any]]

LARGEST = float(np.finfo(np.float32).max)
LENGTH = whole_number("length", 96)
"""Values of the window."""
MAX_HORIZON = whole_number("max_horizon", 60)
"""Steps of the network."""
WINDOW_DECLARED = Declaration((LENGTH, MAX_HORIZON))
FORECAST_DECLARED = Declaration()


class SeriesWindow:
    """Histories to windows of one length."""

    def __init__(self, length: int, max_horizon: int) -> None:
        self._length = length
        self._max_horizon = max_horizon

    def prepare(self, history: Floats, horizon: npt.NDArray[np.int32]) -> Tensors:
        """`window` FP32 [n, 2, length] and `level` FP64 [n, 2] of `history` FP32 [n, any] and `horizon` INT32 [n, 1].

        The window's first row holds the last values, newest last, as distances from the newest in units of `scale`; its
        second row is 1 where there is a value and 0 before the history begins. `level` is (newest, scale). A history of
        equal values has scale 0 and a window of zeros. Raises InvalidInput for a history that is empty or not finite
        and for horizons that cannot be answered.
        """
        common_horizon(horizon, self._max_horizon)
        _check_history(history)
        values = history[:, -self._length :].astype(np.float64)
        newest = values[:, -1:]
        scale = np.abs(values - values.mean(axis=1, keepdims=True)).mean(axis=1, keepdims=True)
        # The mean of equal values may differ from them in the last bit; that is no movement.
        scale[np.ptp(values, axis=1) == 0] = 0.0
        window = np.zeros((len(values), 2, self._length), dtype=np.float32)
        known = values.shape[1]
        window[:, 0, -known:] = (values - newest) / np.where(scale > 0, scale, 1.0)
        window[:, 1, -known:] = 1.0
        return {"window": window, "level": np.concatenate([newest, scale], axis=1)}


def restore(
    quantiles: Floats, level: npt.NDArray[np.float64], horizon: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[np.float32]]:
    """`forecast`, `lower` and `upper` FP32 [n, h] of `quantiles` FP32 [n, steps, 3], `level` FP64 [n, 2] and `horizon`.

    The quantiles are (lower, middle, upper) in the window's units. Values beyond float32 become its largest. Raises
    InvalidInput for horizons that cannot be answered, WrongAnswer for quantiles that are no numbers.
    """
    steps = common_horizon(horizon, quantiles.shape[1])
    if not np.isfinite(quantiles).all():
        raise WrongAnswer("the model's quantiles are not finite: it overflowed, or its file is damaged")
    newest, scale = level[:, :1, None], level[:, 1:, None]
    values = np.clip(newest + scale * quantiles[:, :steps], -LARGEST, LARGEST).astype(np.float32)
    return {"forecast": values[..., 1], "lower": values[..., 0], "upper": values[..., 2]}


def common_horizon(horizon: npt.NDArray[np.int32], limit: int) -> int:
    """The one horizon of a request's rows, INT32 [n, 1]. Raises InvalidInput when they differ or are out of range."""
    wanted = sorted({int(each) for each in horizon.reshape(-1)})
    if not wanted:
        raise InvalidInput("`horizon` has no rows: send one horizon for each history")
    for each in (wanted[0], wanted[-1]):
        if not 1 <= each <= limit:
            raise InvalidInput(f"`horizon` is {each}, but must be between 1 and {limit} steps")
    if len(wanted) > 1:
        raise InvalidInput(
            f"`horizon` differs between the rows of this request ({', '.join(map(str, wanted[:5]))}): ask for the "
            "longest in all rows, or send one request for each horizon"
        )
    return wanted[0]


def _check_history(history: Floats) -> None:
    if history.size == 0:
        raise InvalidInput("`history` is empty: send at least one value")
    bad = np.argwhere(~np.isfinite(history))
    if len(bad):
        row, step = (int(each) for each in bad[0])
        raise InvalidInput(
            f"`history`[{row}][{step}] is {history[row, step]}: values must be finite, so fill gaps beforehand"
        )
