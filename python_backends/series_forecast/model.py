"""Triton backend `series_forecast`: a window's quantiles in, the forecast and its interval out.

Its logic: conch_steps.forecasting.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.forecasting import restore
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each


class TritonPythonModel:
    """No config parameters and no artifacts: everything comes with the request."""

    def initialize(self, args: dict[str, str]) -> None:
        verify_manifest(StepModel.from_args(args).version_folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, _restore)


def _restore(request: StepRequest) -> Tensors:
    return restore(request.tensor("quantiles"), request.tensor("level"), request.tensor("horizon"))
