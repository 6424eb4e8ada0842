"""Triton backend `onnxruntime`: ONNX models on the onnxruntime wheel, where NVIDIA's C++ backend is absent.

Core takes libtriton_onnxruntime.so if there is one, so the same config.pbtxt runs on either; the logic, and
what it promises, is conch_steps.onnx_backend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.errors import StepError
from conch_steps.onnx_backend.complete import complete, is_complete
from conch_steps.serving import Tensors, answer_each


class TritonPythonModel:
    """One instance of a model; instances are processes of their own and share nothing."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        config = auto_complete_model_config.as_dict()
        if not is_complete(config):
            # Triton calls this in a process of its own for every load, and most loads have nothing to
            # complete: only those that do pay for the import of onnxruntime.
            from conch_steps.onnx_backend.served import open_session

            complete(config, open_session(config, Path(pb_utils.get_model_dir())).signature)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        from conch_steps.onnx_backend.served import OnnxModel

        folder = Path(args["model_repository"]) / args["model_version"]
        self._model = OnnxModel.load(json.loads(args["model_config"]), folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        answers = iter(self._model.execute(inputs))
        return answer_each(pb_utils, requests, lambda _: _given(next(answers)))

    def finalize(self) -> None:
        del self._model


def _given(answer: Tensors | StepError) -> Tensors:
    if isinstance(answer, StepError):
        raise answer
    return answer
