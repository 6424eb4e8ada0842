"""Fixtures for the onnxruntime stand-in: graphs written as ONNX text, saved as in a version folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

SaveGraph = Callable[[str], Path]


@pytest.fixture
def save_graph(tmp_path: Path) -> SaveGraph:
    """Save a graph in ONNX's text form as model.onnx; the folder it lies in, a version folder."""

    def save(text: str) -> Path:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path

    return save
