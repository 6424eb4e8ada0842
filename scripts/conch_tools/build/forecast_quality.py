"""How good a served forecaster is, by rolling origins over a stretch of its series that it has not learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conch_tools.build.quality import BATCH, Ask

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RollingForecast:
    """The forecast of `steps` values from every origin of the held-out stretch that has so many before its end.

    `mase`: mean absolute error in units of the seasonal-naive forecast's error, one season ahead, on the values before
    the stretch (R. Hyndman, A. Koehler, Another look at measures of forecast accuracy, 2006).
    `error_ratio`: mean absolute error over that of seasonal-naive from the same origins over the same steps.
    `coverage`: the share of values that lie within the interval.
    """

    series: Floats
    heldout: int
    """How many values at the end are held out."""
    season: int
    steps: int

    def measure(self, ask: Ask) -> dict[str, float]:
        """Every origin is asked with as many values before it as the first one has, so that batches can form."""
        first = len(self.series) - self.heldout
        origins = range(first, len(self.series) - self.steps + 1)
        truth = np.stack([self.series[origin : origin + self.steps] for origin in origins])
        forecast, lower, upper = self._answers(ask, origins)
        repeats = -(-self.steps // self.season)
        naive = np.stack(
            [np.tile(self.series[origin - self.season : origin], repeats)[: self.steps] for origin in origins]
        )
        known = self.series[:first]
        unit = np.abs(known[self.season :] - known[: -self.season]).mean()
        error = np.abs(forecast - truth).mean()
        return {
            "mase": float(error / unit),
            "error_ratio": float(error / np.abs(naive - truth).mean()),
            "coverage": float(((lower <= truth) & (truth <= upper)).mean()),
        }

    def _answers(self, ask: Ask, origins: range) -> list[Floats]:
        """`forecast`, `lower` and `upper` [origins, steps]."""
        length = origins.start
        rows = []
        for start in range(0, len(origins), BATCH):
            batch = origins[start : start + BATCH]
            histories = np.stack([self.series[origin - length : origin] for origin in batch])
            horizons = np.full((len(batch), 1), self.steps, dtype=np.int32)
            answer = ask({"history": histories, "horizon": horizons})
            rows.append([answer[name] for name in ("forecast", "lower", "upper")])
        return [np.concatenate(columns) for columns in zip(*rows, strict=True)]
