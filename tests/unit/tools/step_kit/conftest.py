"""Small models, written where a test needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest

WriteModel = Callable[..., Path]

CONFIG = """
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
dynamic_batching {}
"""
RAGGED = CONFIG.replace("dims: [ -1 ] } ]\noutput", "dims: [ -1 ] allow_ragged_batch: true } ]\noutput")
HEAD = """
import numpy as np
import triton_python_backend_utils as pb_utils


def x_of(request):
    return pb_utils.get_input_tensor_by_name(request, "x").as_numpy()


def answer(y):
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", y)])


class TritonPythonModel:
"""
EXECUTE = """
def execute(self, requests):
    return [answer(x_of(request)) for request in requests]
"""


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Write a model with these methods of TritonPythonModel; returns its folder."""

    def write(
        methods: str = EXECUTE, config: str = CONFIG, name: str = "small", files: dict[str, str] | None = None
    ) -> Path:
        folder = tmp_path / name
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config)
        (folder / "1" / "model.py").write_text(HEAD + indent(dedent(methods), "    "))
        for file, text in (files or {}).items():
            (folder / "1" / file).write_text(dedent(text))
        return folder

    return write
