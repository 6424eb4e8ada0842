"""Triton backend `token_entities`: BYTES texts in, named entities out as JSON. The logic is conch_steps.entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.class_labels import labels_of
from conch_steps.entities import MODEL, STRATEGY, EntityReader, Scores, WordRule
from conch_steps.manifest import verify_manifest
from conch_steps.serving import SideBySide, StepModel, StepRequest, Tensors
from conch_steps.text_tokenizer import TOKENIZER_FILE
from conch_steps.texts import TEXT_BYTES
from conch_steps.windows import WindowTokenizer


class TritonPythonModel:
    """Config parameters: `model` (the token classifier that it calls), `max_rows` (its maximum batch, default 64),
    `max_tokens` and `overlap` of a window (defaults 256 and 64), `aggregation_strategy` (default `simple`),
    `max_text_bytes` (default 1 MiB). Artifacts: `<version>/tokenizer.json`, `<version>/labels.txt`.

    Request parameter: `aggregation_strategy`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._reader = EntityReader(
            WindowTokenizer.load(model),
            WordRule.read(model.version_folder / TOKENIZER_FILE),
            labels_of(model),
            STRATEGY.of(model),
            TEXT_BYTES.of(model),
        )
        self._calls = ModelCalls(pb_utils, MODEL.of(model), MAX_ROWS.of(model))
        self._requests = SideBySide(pb_utils, self._answer)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._requests.answer(requests)

    def _answer(self, request: StepRequest) -> Tensors:
        wish = request.parameters.get("aggregation_strategy")
        return self._reader.read(request.tensor("text"), wish, self._logits)

    def _logits(self, rows: Sequence[Sequence[int]]) -> Sequence[Scores]:
        return self._calls.token_rows(rows, None, "logits")
