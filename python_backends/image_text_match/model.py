"""Triton backend `image_text_match`: an image's embedding and its labels in, the labels ranked by their fit out.

The logic is conch_steps.image_text; the text model that embeds the labels is asked by BLS.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.image_text import KEPT, LABELS_OF_A_REQUEST, MODEL, TEMPLATE, ImageText, Sentences, TextSide
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each


class TritonPythonModel:
    """Config parameters: `model`, the text model to ask, and `max_rows`, its maximum batch (default 64);
    `hypothesis_template`; `kept_embeddings`, how many labels' embeddings to keep (default 4096); `max_labels` of a
    request (default 4096). Artifacts: `<version>/tokenizer.json` and `<version>/match.json`.

    Request parameters: `hypothesis_template`, and `top_k`, how many labels to answer (default all).
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        calls = ModelCalls(pb_utils, MODEL.of(model), MAX_ROWS.of(model))
        self._images = ImageText(
            Sentences.load(model),
            lambda rows: calls.token_rows(rows, None, "embedding"),
            TextSide.load(model).logit_scale,
            template=TEMPLATE.of(model),
            kept=KEPT.of(model),
            max_labels=LABELS_OF_A_REQUEST.of(model),
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
