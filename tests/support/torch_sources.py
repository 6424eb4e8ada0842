"""What tests of networks of PyTorch's share: archives, and how what runs apart is asked without another process."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch_tools.build.apart_inside import ANSWER, GRAPH, PROBLEM, REQUEST, ROWS, SCORES, answer_in
from conch_tools.build.torch_apart import answered
from conch_tools.errors import BuildError


def asked_here(folders: pytest.TempPathFactory) -> Callable[..., Any]:
    """What `ask_apart` does for torch_apart, in this process."""

    def ask(pipeline: str, module: str, request: Mapping[str, Any], rows: Any = None) -> Any:
        assert module == "conch_tools.build.torch_apart"
        folder = folders.mktemp("apart")
        (folder / REQUEST).write_text(json.dumps(request))
        if rows is not None:
            np.save(folder / ROWS, rows)
        answer_in(folder, answered)
        answer = json.loads((folder / ANSWER).read_text())
        if PROBLEM in answer:
            raise BuildError(pipeline, answer[PROBLEM])
        scores = np.load(folder / SCORES) if (folder / SCORES).is_file() else None
        graph = (folder / GRAPH).read_bytes() if (folder / GRAPH).is_file() else None
        return answer, scores, graph

    return ask


NETWORK = '''
"""A network for tests: patches of an image to one of five classes."""

import torch


class Patches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = torch.nn.Conv2d(3, 16, kernel_size=14, stride=14)
        self.classes = torch.nn.Linear(16, 5)

    def forward(self, pixels):
        return self.classes(torch.relu(self.patches(pixels)).amax(dim=(2, 3)))
'''
"""Code of a file of its own, which defines one network."""


def write_archive(file: Path, content: Mapping[str, Any], **model: str) -> Path:
    """As torch-model-archiver writes it: a zip file with a manifest."""
    described = {"modelName": file.stem, "modelVersion": "1.0", "handler": "image_classifier", **model}
    manifest = {
        "createdOn": "01/11/2026 10:00:00",
        "runtime": "python",
        "model": described,
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(name, each)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return file


def save_traced(network: torch.nn.Module, shape: Sequence[int], file: Path) -> None:
    """As TorchScript; `shape` is that of a row."""
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what people have.
        warnings.simplefilter("ignore")
        torch.jit.trace(network.eval(), torch.zeros(2, *shape)).save(str(file))
