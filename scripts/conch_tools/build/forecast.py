"""The forecasting pipeline: the network as a graph, and what PyTorch makes of the same histories.

The reference normalises by itself, in torch, so it shares nothing with the steps but the network's weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from conch_tools.build.forecast_quality import RollingForecast
from conch_tools.build.quality import Quality
from conch_tools.build.ragged import OPSET
from conch_tools.build.reference import CORPUS_SIZE, Item, Reference, StepAnswers
from conch_tools.build.staging import Staged
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import forecast as training

SEASON = 12
LONGEST = 200
HORIZONS = {1: 60, 2: 12, 5: 1, 12: 12, 40: 59, training.WINDOW: 60, training.WINDOW + 1: 24, LONGEST: 60}
"""Horizon of the corpus' histories by their length: rows of one request have one horizon."""
Floats = npt.NDArray[np.float32]


class ForecastBuilder:
    """`<pipeline>_model` of the forecaster that Conch trained; the steps around it need no artifact."""

    def __init__(self, pipeline: Pipeline) -> None:
        if pipeline.source.training != "forecast":
            raise BuildError(pipeline.name, 'time-series-forecasting needs source.training = "forecast"')
        self._pipeline = pipeline
        self._network = training.load()

    def stage(self, staged: Staged) -> None:
        """Write the network."""
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self._network,
                (torch.zeros(2, 2, training.WINDOW),),
                str(staged.version(self._pipeline.step("model")) / "model.onnx"),
                input_names=["window"],
                output_names=["quantiles"],
                opset_version=OPSET,
                dynamo=False,
                dynamic_axes={"window": {0: "rows"}, "quantiles": {0: "rows"}},
            )

    def corpus(self) -> Sequence[Item]:
        """Histories of 1 to 200 values: stretches of the record, its differences, a wave, a constant."""
        return _corpus()

    def reference(self, items: Sequence[Item]) -> Reference:
        """The PyTorch network's answers, one history at a time."""
        windows, levels, quantiles = zip(*(self._asked(item["history"]) for item in items), strict=True)
        restored = [
            (newest + scale * rows[: int(item["horizon"][0])].double()).float()
            for item, (newest, scale), rows in zip(items, levels, quantiles, strict=True)
        ]
        named = zip(("lower", "forecast", "upper"), range(3), strict=True)
        step = self._pipeline.step
        return Reference(
            library="PyTorch",
            items=items,
            steps=[
                StepAnswers(
                    step("prepare"),
                    {"window": [each.numpy() for each in windows], "level": [np.array(each) for each in levels]},
                ),
                StepAnswers(step("model"), {"quantiles": [each.numpy() for each in quantiles]}),
                StepAnswers(
                    step("restore"),
                    {name: [rows[:, column].numpy() for rows in restored] for name, column in named},
                ),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Error and coverage on the record's last ten years, which neither training nor calibration saw."""
        return RollingForecast(training.series(), training.HELDOUT, SEASON, training.STEPS)

    def _asked(self, history: Floats) -> tuple[torch.Tensor, tuple[float, float], torch.Tensor]:
        """The window [2, WINDOW], (newest, scale) and the quantiles [STEPS, 3] of one history."""
        values = torch.from_numpy(history[-training.WINDOW :]).double()
        newest, scale = values[-1], (values - values.mean()).abs().mean()
        moved = (values - newest) / scale if values.unique().numel() > 1 else torch.zeros_like(values)
        before = training.WINDOW - len(values)
        window = torch.stack([torch.nn.functional.pad(row, (before, 0)) for row in (moved, torch.ones_like(moved))])
        with torch.no_grad():
            quantiles = self._network(window.float()[None])[0]
        return window.float(), (float(newest), float(scale) if moved.any() else 0.0), quantiles


def _corpus() -> list[Item]:
    chance = np.random.default_rng(training.SEED)
    record = training.series()
    wave = np.sin(np.arange(LONGEST) / 3).astype(np.float32)
    kinds = [record, np.diff(record), wave, np.full(LONGEST, 7.25, dtype=np.float32)]
    items: list[Item] = []
    for number in range(CORPUS_SIZE):
        kind = kinds[number % len(kinds)]
        length, horizon = list(HORIZONS.items())[int(chance.integers(len(HORIZONS)))]
        start = int(chance.integers(0, len(kind) - length + 1))
        items.append({"history": kind[start : start + length], "horizon": np.array([horizon], dtype=np.int32)})
    return items
