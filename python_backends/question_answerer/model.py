"""Triton backend `question_answerer`: question and context in, ranked spans out. The logic is conch_steps.answers."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.answers import AnswerFinder
from conch_steps.calls import ModelCalls
from conch_steps.errors import ModelConfigError
from conch_steps.manifest import verify_manifest
from conch_steps.serving import SideBySide, StepModel

MAX_ROWS = 64
MAX_TOKENS = 256
OVERLAP = 64


class TritonPythonModel:
    """Config parameters: `model` (the one that gives logits), `max_rows` (its maximum batch, default 64), `max_tokens`
    of a window (default 256), of which neighbours share `overlap` (default 64). Artifact: `<version>/tokenizer.json`.

    Request parameters: `top_k`, `max_answer_tokens`, `handle_impossible_answer`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        if "model" not in model.parameters:
            raise ModelConfigError(f"model `{model.name}`: name the `model` that gives logits among the parameters")
        calls = ModelCalls(pb_utils, model.parameters["model"], model.integer("max_rows", MAX_ROWS))
        finder = AnswerFinder(
            model.version_folder / "tokenizer.json",
            model.integer("max_tokens", MAX_TOKENS),
            model.integer("overlap", OVERLAP),
            lambda rows, segments: calls.token_rows(rows, segments, "logits"),
        )
        self._requests = SideBySide(pb_utils, finder.answer)

    def execute(self, requests: list[Any]) -> None:
        self._requests.answer(requests)
