"""Triton backend `token_entities`: BYTES texts in, named entities out as JSON. The logic is conch_steps.entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import ModelCalls
from conch_steps.class_labels import read_labels
from conch_steps.entities import EntityReader, Scores, WordRule, configured_strategy
from conch_steps.errors import ModelConfigError
from conch_steps.manifest import verify_manifest
from conch_steps.serving import SideBySide, StepModel, StepRequest, Tensors
from conch_steps.texts import MAX_TEXT_BYTES
from conch_steps.windows import WindowTokenizer

MAX_ROWS = 64
MAX_TOKENS = 256
OVERLAP = 64


class TritonPythonModel:
    """Config parameters: `model` (the token classifier that it calls), `max_rows` (its maximum batch, default 64),
    `max_tokens` and `overlap` of a window (defaults 256 and 64), `aggregation_strategy` (default `simple`),
    `max_text_bytes` (default 1 MiB). Artifacts: `<version>/tokenizer.json`, `<version>/labels.txt`.

    Request parameter: `aggregation_strategy`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        if "model" not in model.parameters:
            raise ModelConfigError(f"model `{model.name}`: parameter `model` must name the token classifier to call")
        file = model.version_folder / "tokenizer.json"
        self._reader = EntityReader(
            WindowTokenizer(file, model.integer("max_tokens", MAX_TOKENS), model.integer("overlap", OVERLAP)),
            WordRule.read(file),
            read_labels(model.version_folder / "labels.txt"),
            configured_strategy(model),
            model.integer("max_text_bytes", MAX_TEXT_BYTES),
        )
        self._calls = ModelCalls(pb_utils, model.parameters["model"], model.integer("max_rows", MAX_ROWS))
        self._requests = SideBySide(pb_utils, self._answer)

    def execute(self, requests: list[Any]) -> None:
        self._requests.answer(requests)

    def _answer(self, request: StepRequest) -> Tensors:
        wish = request.parameters.get("aggregation_strategy")
        return self._reader.read(request.tensor("text"), wish, self._logits)

    def _logits(self, rows: Sequence[Sequence[int]]) -> Sequence[Scores]:
        return self._calls.token_rows(rows, None, "logits")
