"""Triton backend `class_labels`: FP32 logits in, ranked labels with scores out. Its logic: conch_steps.class_labels."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.class_labels import ACTIVATION, ClassLabels, labels_of, scored_input
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each


class TritonPythonModel:
    """Config parameter: `activation` (softmax, the default, sigmoid, or none, with which the input is called
    `probabilities` and not `logits`). Artifact: `<version>/labels.txt`.

    Request parameter: `top_k`, how many classes to answer (default all).
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._input = scored_input(model)
        self._classes = ClassLabels(labels_of(model), ACTIVATION.of(model))

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, self._rank)

    def _rank(self, request: StepRequest) -> Tensors:
        return self._classes.rank(request.tensor(self._input), request.parameters.get("top_k"))
