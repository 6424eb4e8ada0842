"""Networks that come as their own library has them: a function that makes one of PyTorch's, TorchScript, an archive of
TorchServe's, a SavedModel of TensorFlow's.

None comes into the process that builds: see torch_apart.py and tensorflow_apart.py. What is had of it are its answers
and its graph.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_tools.build.apart import ask_apart
from conch_tools.build.sources import source_file
from conch_tools.build.torchserve import ENDING, Archive, BadArchive
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, Source

OF_TORCH, OF_TENSORFLOW = "conch_tools.build.torch_apart", "conch_tools.build.tensorflow_apart"
SAVED_MODEL = "saved_model.pb"
TORCHSCRIPT = (".pt", ".pth")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NetworkApart:
    """A network that answers rows with logits [n, classes], and is never here."""

    pipeline: str
    module: str
    """What asks it, apart."""
    request: Mapping[str, Any]
    shape: Sequence[int]
    """Of a row."""
    classes: int
    are_probabilities: bool
    """Whether what it answers to an example are scores already, and not logits."""
    onnx: bytes

    @property
    def library(self) -> str:
        """Whose answers `answers` are."""
        return "TensorFlow" if self.module == OF_TENSORFLOW else "PyTorch"

    def answers(self, rows: Floats) -> Floats:
        """Logits [n, classes] of rows [n, …], each asked alone. Raises BuildError when the network refuses them."""
        _, scores, _ = ask_apart(self.pipeline, self.module, {**self.request, "graph": None}, rows)
        return np.asarray(scores, dtype=np.float32)

    def write_graph(self, path: Path) -> None:
        """The graph to a file."""
        path.write_bytes(self.onnx)


def read_network(pipeline: Pipeline, shape: Sequence[int] | None, given: str, answer: str, taking: str) -> NetworkApart:
    """The network of a source, with its graph from `given` to `answer`.

    `shape` is that of a row, None where the network tells how many columns it takes; `taking` says in a refusal what a
    row is. Raises BuildError for a source that is no network, and for one that does not take such rows.
    """
    module = OF_TENSORFLOW if is_saved_model(pipeline.source, pipeline.folder) else OF_TORCH
    request = {**_named(pipeline), "shape": shape, "taking": taking}
    # All at once: a process that has loaded torch is the dearest part.
    told, _, graph = ask_apart(pipeline.name, module, {**request, "graph": {"given": given, "answer": answer}})
    ready = told["are_probabilities"]
    return NetworkApart(pipeline.name, module, request, told["shape"], told["classes"], ready, graph or b"")


def is_network(pipeline: Pipeline) -> bool:
    """Whether the source is a function or a file of PyTorch's, or a SavedModel."""
    file = pipeline.source.file
    return names_no_classes(pipeline.source, pipeline.folder) or (file is not None and file.suffix == ENDING)


def names_no_classes(source: Source, beside: Path = Path()) -> bool:
    """Whether a source, whose relative paths start at a folder, is a network alone: all but an archive, whose maker
    put the names of its classes in."""
    is_scripted = source.file is not None and source.file.suffix in TORCHSCRIPT
    return source.module is not None or is_scripted or is_saved_model(source, beside)


def is_saved_model(source: Source, beside: Path = Path()) -> bool:
    """Whether a source, whose relative paths start at a folder, is a folder of TensorFlow's."""
    return source.folder is not None and (beside / source.folder / SAVED_MODEL).is_file()


def trusted_archive(pipeline: Pipeline) -> Archive:
    """What the manifest of a TorchServe archive says. Raises BuildError for one that is not trusted, and for none."""
    file = source_file(pipeline)
    if not pipeline.source.runs_code:
        raise BuildError(
            pipeline.name,
            f"{file} is an archive of TorchServe's: loading it runs the code that is in it. If you trust who made it, "
            "set runs_code = true in [source], or give --trust to conch new",
        )
    try:
        return Archive.read(file)
    except BadArchive as problem:
        raise BuildError(pipeline.name, str(problem)) from problem


def _named(pipeline: Pipeline) -> dict[str, Any]:
    if pipeline.source.module is not None:
        return {"module": pipeline.source.module, "path": sys.path}
    if pipeline.source.folder is not None:
        return {"saved_model": str((pipeline.folder / pipeline.source.folder).resolve())}
    file = source_file(pipeline)
    return {"archive" if file.suffix == ENDING else "file": str(file)}
