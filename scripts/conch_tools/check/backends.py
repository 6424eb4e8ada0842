"""Which backend serves a model: what config.pbtxt says, completed from the files as Triton's core completes
it.

Core fills in `backend`, `platform` and `default_model_filename` before anything else, even where
auto-complete is off. It looks at the FIRST folder of the model only, in the order of names. The order of the
kinds below is core's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import model_config_pb2

ENSEMBLE = "ensemble"
"""The platform of ensembles; their backend stays empty."""

PYTHON = "python"
ADAPTOR = "model.py"
"""The source of a Python-based backend, and by default that of a model in Python."""

TRITON_BACKENDS = frozenset(
    {
        "dali", "fil", "identity", "onnxruntime", "openvino", "python", "pytorch",
        "repeat", "square", "tensorflow", "tensorrt", "tensorrtllm", "vllm",
    }
)  # fmt: skip
"""Backends that NVIDIA's containers carry; their folders need not be at hand."""


@dataclass(frozen=True)
class Kind:
    """What core knows of a backend of its own: the model file that it loads and, for some, a platform."""

    backend: str
    platform: str
    filename: str


KINDS = (
    Kind("tensorflow", "tensorflow_savedmodel", "model.savedmodel"),
    Kind("tensorflow", "tensorflow_graphdef", "model.graphdef"),
    Kind("tensorrt", "tensorrt_plan", "model.plan"),
    Kind("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    Kind("openvino", "", "model.xml"),
    Kind("pytorch", "pytorch_libtorch", "model.pt"),
    Kind("python", "", "model.py"),
)
"""Core's own kinds, in the order in which it tries them."""


@dataclass(frozen=True)
class Backend:
    """How core completes a model's configuration. Empty strings: core has nothing to fill in."""

    name: str
    platform: str
    filename: str


def platforms_of(backend: str) -> tuple[str, ...]:
    """The platforms that core accepts beside this backend; none given means that it does not look."""
    return tuple(kind.platform for kind in KINDS if kind.backend == backend and kind.platform)


def resolve(model_name: str, config: model_config_pb2.ModelConfig, first_folder: Collection[str]) -> Backend:
    """The backend of a model, whose first folder holds the names in `first_folder`.

    `name` is empty for an ensemble, and where nothing tells which backend is meant.
    """
    backend, platform, filename = config.backend, config.platform, config.default_model_filename
    for kind in KINDS:
        if _is_kind(kind, backend, platform, filename, first_folder):
            return Backend(kind.backend, platform or kind.platform, filename or kind.filename)
    if not backend and not platform and not filename and "." in model_name:
        custom = model_name.split(".", 1)[1]
        return Backend(custom, "", f"model.{custom}")
    return Backend(backend, platform, filename)


def _is_kind(kind: Kind, backend: str, platform: str, filename: str, first_folder: Collection[str]) -> bool:
    # The name alone does not tell which of TensorFlow's two formats it is: core looks further.
    tensorflow = kind.backend == "tensorflow"
    if backend and (backend != kind.backend or not tensorflow):
        return backend == kind.backend
    if kind.platform and platform == kind.platform:
        return True
    if filename:
        return filename == kind.filename and not (tensorflow and platform)
    return not platform and kind.filename in first_folder


def library_of(name: str) -> str:
    """The file name of a C++ backend."""
    return f"libtriton_{name}.so"


def adaptor_of(name: str, folders: Sequence[Path] | None) -> Path | None:
    """The model.py of a Python-based backend in the backend folders; core takes a C++ backend of that name before
    it."""
    for folder in folders or () if name else ():
        own = folder / name
        if (own / library_of(name)).is_file():
            return None
        if (own / ADAPTOR).is_file():
            return own / ADAPTOR
    return None
