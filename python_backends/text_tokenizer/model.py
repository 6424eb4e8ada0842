"""Triton backend `text_tokenizer`: BYTES texts in, ragged token ids out. The logic is conch_steps.text_tokenizer."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, answer_each
from conch_steps.text_tokenizer import TextTokenizer


class TritonPythonModel:
    """Config parameter: `max_text_bytes` (default 1 MiB). Artifact: `<version>/tokenizer.json`."""

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._tokenizer = TextTokenizer.load(model)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, lambda request: self._tokenizer.encode(request.tensor("text")))
