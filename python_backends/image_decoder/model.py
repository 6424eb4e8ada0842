"""Triton backend `image_decoder`: BYTES images in, FP32 pixels out. The logic is conch_steps.image_decoder."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.image_decoder import ImageDecoder
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, answer_each


class TritonPythonModel:
    """Config parameter: `max_pixels` (default 50 million). Artifact: `<version>/preprocessor_config.json`."""

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._decoder = ImageDecoder.load(model)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(
            pb_utils, requests, lambda request: {"pixels": self._decoder.decode(request.tensor("image"))}
        )
