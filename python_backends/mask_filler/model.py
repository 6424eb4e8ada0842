"""Triton backend `mask_filler`: texts with masks in, what may stand there out. The logic is conch_steps.mask_filler."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.manifest import verify_manifest
from conch_steps.mask_filler import MODEL, MaskFiller
from conch_steps.serving import SideBySide, StepModel


class TritonPythonModel:
    """Config parameters: `model` (the masked language model that it calls), `max_rows` (its maximum batch, default 64),
    `max_tokens` of a text (default 256), `max_text_bytes` (default 1 MiB). Artifacts: `<version>/tokenizer.json`,
    `<version>/mask.json`.

    Request parameter: `top_k`, how many tokens to name for each mask (default 5).
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        calls = ModelCalls(pb_utils, MODEL.of(model), MAX_ROWS.of(model))
        filler = MaskFiller(model, lambda rows, asked: calls.token_rows(rows, asked, "logits"))
        self._requests = SideBySide(pb_utils, filler.fill)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._requests.answer(requests)
