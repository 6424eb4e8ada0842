"""Triton backend `image_text_match`: an image's embedding and its labels in, the labels ranked by their fit out.

The logic is conch_steps.image_text; the text model that embeds the labels is asked by BLS.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import ModelCalls
from conch_steps.errors import ModelConfigError
from conch_steps.image_text import DEFAULT_TEMPLATE, KEPT_EMBEDDINGS, MAX_LABELS, ImageText, Sentences, TextSide
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each

MAX_ROWS = 64


class TritonPythonModel:
    """Config parameters: `model`, the text model to ask, and `max_rows`, its maximum batch (default 64);
    `hypothesis_template`; `kept_embeddings`, how many labels' embeddings to keep (default 4096); `max_labels` of a
    request (default 4096). Artifacts: `<version>/tokenizer.json` and `<version>/match.json`.

    Request parameters: `hypothesis_template`, and `top_k`, how many labels to answer (default all).
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        side = TextSide.from_file(model.version_folder / "match.json")
        if "model" not in model.parameters:
            raise ModelConfigError(f"model `{model.name}`: parameter `model` must name the model that embeds labels")
        calls = ModelCalls(pb_utils, model.parameters["model"], model.integer("max_rows", MAX_ROWS))
        self._images = ImageText(
            Sentences(model.version_folder / "tokenizer.json", side.max_tokens),
            lambda rows: calls.token_rows(rows, None, "embedding"),
            side.logit_scale,
            template=model.parameters.get("hypothesis_template", DEFAULT_TEMPLATE),
            kept=model.integer("kept_embeddings", KEPT_EMBEDDINGS),
            max_labels=model.integer("max_labels", MAX_LABELS),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, self._match)

    def _match(self, request: StepRequest) -> Tensors:
        return self._images.match(
            request.tensor("embedding"),
            request.tensor("labels"),
            request.parameters.get("hypothesis_template"),
            request.parameters.get("top_k"),
        )
