"""Triton backend `question_answerer`: question and context in, ranked spans out. The logic is conch_steps.answers."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.answers import MODEL, AnswerFinder
from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.manifest import verify_manifest
from conch_steps.serving import SideBySide, StepModel
from conch_steps.windows import WindowTokenizer


class TritonPythonModel:
    """Config parameters: `model` (the one that gives logits), `max_rows` (its maximum batch, default 64), `max_tokens`
    of a window (default 256), of which neighbours share `overlap` (default 64). Artifact: `<version>/tokenizer.json`.

    Request parameters: `top_k`, `max_answer_tokens`, `handle_impossible_answer`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        calls = ModelCalls(pb_utils, MODEL.of(model), MAX_ROWS.of(model))
        finder = AnswerFinder(
            WindowTokenizer.load(model), lambda rows, segments: calls.token_rows(rows, segments, "logits")
        )
        self._requests = SideBySide(pb_utils, finder.answer)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._requests.answer(requests)
