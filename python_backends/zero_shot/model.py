"""Triton backend `zero_shot`: texts and labels in, ranked labels with scores out. The logic is conch_steps.zero_shot*.

By similarity when config parameter `embedding` names an embedding pipeline, by natural-language inference when `model`
names a model that gives logits for premise-hypothesis pairs.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import ModelCalls
from conch_steps.errors import ModelConfigError
from conch_steps.manifest import verify_manifest
from conch_steps.serving import SideBySide, StepModel, StepRequest, Tensors
from conch_steps.text_embedder import TextEmbedder
from conch_steps.zero_shot import Rules, read_question
from conch_steps.zero_shot_entailment import CLASSES_FILE, EntailmentClasses, EntailmentRanking
from conch_steps.zero_shot_similarity import CACHED_LABELS, SimilarityRanking, scale_of

MAX_ROWS = 64


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
        self._ranking = _by_similarity(model) if "embedding" in model.parameters else _by_entailment(model)
        self._requests = SideBySide(pb_utils, self._answer)

    def execute(self, requests: list[Any]) -> None:
        self._requests.answer(requests)

    def _answer(self, request: StepRequest) -> Tensors:
        return self._ranking.answer(read_question(request, self._rules))


def _by_similarity(model: StepModel) -> SimilarityRanking:
    max_rows = model.integer("max_rows", MAX_ROWS)
    calls = ModelCalls(pb_utils, model.parameters["embedding"], max_rows)
    cached = model.integer("cached_labels", CACHED_LABELS)
    return SimilarityRanking(TextEmbedder(calls, max_rows), scale_of(model), cached)


def _by_entailment(model: StepModel) -> EntailmentRanking:
    if "model" not in model.parameters:
        raise ModelConfigError(f"model `{model.name}`: name an `embedding` pipeline or a `model` among the parameters")
    calls = ModelCalls(pb_utils, model.parameters["model"], model.integer("max_rows", MAX_ROWS))
    return EntailmentRanking(
        model.version_folder / "tokenizer.json",
        EntailmentClasses.read(model.version_folder / CLASSES_FILE),
        lambda rows, segments: calls.token_rows(rows, segments, "logits"),
    )
