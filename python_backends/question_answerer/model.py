"""Triton backend `question_answerer`: question and context in, ranked spans out. The logic is conch_steps.answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.answers import MODEL, AnswerFinder
from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, answer_each
from conch_steps.windows import WindowTokenizer

REQUESTS_AT_ONCE = 8
"""They wait for the model that they call, whose queue joins their windows."""


class TritonPythonModel:
    """Config parameters: `model` (the one that gives logits), `max_rows` (its maximum batch, default 64), `max_tokens`
    of a window (default 256), of which neighbours share `overlap` (default 64). Artifact: `<version>/tokenizer.json`.

    Request parameters: `top_k`, `max_answer_tokens`, `handle_impossible_answer`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        calls = ModelCalls(pb_utils, MODEL.of(model), MAX_ROWS.of(model))
        self._finder = AnswerFinder(
            WindowTokenizer.load(model), lambda rows, segments: calls.token_rows(rows, segments, "logits")
        )
        self._callers = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="requests")

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, self._finder.answer, self._callers)
