"""Triton backend `zero_shot`: texts and labels in, ranked labels with scores out. The logic is conch_steps.zero_shot*.

By similarity when config parameter `embedding` names an embedding pipeline, by natural-language inference when `model`
names a model that gives logits for premise-hypothesis pairs.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.manifest import verify_manifest
from conch_steps.serving import SideBySide, StepModel, StepRequest, Tensors
from conch_steps.text_embedder import TextEmbedder
from conch_steps.text_tokenizer import TOKENIZER_FILE
from conch_steps.zero_shot import Rules, read_question
from conch_steps.zero_shot_entailment import CLASSES_FILE, MODEL, EntailmentClasses, EntailmentRanking
from conch_steps.zero_shot_similarity import PIPELINE, REMEMBERED, SCALE, SimilarityRanking


class TritonPythonModel:
    """Config parameters: `hypothesis_template`, `max_labels` (default 1000), `max_rows` (the called model's maximum
    batch, default 64), and

    - `embedding`, with `scale` (default 20) and `cached_labels` (default 4096), or
    - `model`, with the artifacts `<version>/tokenizer.json` and `<version>/entailment.json`.

    Request parameters: `hypothesis_template`, `multi_label`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._rules = Rules.of(model)
        self._ranking = _by_similarity(model) if PIPELINE.given(model) else _by_entailment(model)
        self._requests = SideBySide(pb_utils, self._answer)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._requests.answer(requests)

    def _answer(self, request: StepRequest) -> Tensors:
        return self._ranking.answer(read_question(request, self._rules))


def _by_similarity(model: StepModel) -> SimilarityRanking:
    rows = MAX_ROWS.of(model)
    calls = ModelCalls(pb_utils, PIPELINE.of(model), rows)
    return SimilarityRanking(TextEmbedder(calls, rows), SCALE.of(model), REMEMBERED.of(model))


def _by_entailment(model: StepModel) -> EntailmentRanking:
    calls = ModelCalls(pb_utils, MODEL.of(model), MAX_ROWS.of(model))
    return EntailmentRanking(
        model.version_folder / TOKENIZER_FILE,
        EntailmentClasses.read(model.version_folder / CLASSES_FILE),
        lambda rows, segments: calls.token_rows(rows, segments, "logits"),
    )
