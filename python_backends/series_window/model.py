"""Triton backend `series_window`: histories of any length in, windows of one length out.

Its logic: conch_steps.forecasting. A config with `allow_ragged_batch` on `history` lets histories of different
lengths share an execution.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.forecasting import LENGTH, MAX_HORIZON, SeriesWindow
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each


class TritonPythonModel:
    """Config parameters: `length`, the window's values (96), and `max_horizon`, the steps of the network (60)."""

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._windows = SeriesWindow(LENGTH.of(model), MAX_HORIZON.of(model))

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, self._prepare)

    def _prepare(self, request: StepRequest) -> Tensors:
        return self._windows.prepare(request.tensor("history"), request.tensor("horizon"))
