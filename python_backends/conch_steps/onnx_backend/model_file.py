"""Which file of a version folder is the model.

The C++ backend's rule: `default_model_filename`, else model.onnx; a folder of that name holds a model.onnx
with its external data. `cc_model_filenames` chooses by GPU and so does not count here.
"""

from __future__ import annotations

from pathlib import Path

from conch_steps.errors import ArtifactError
from conch_steps.onnx_backend.config import Json

DEFAULT_NAME = "model.onnx"


def model_file(config: Json, version_folder: Path) -> Path:
    """Path of the ONNX file that the configuration means. Raises ArtifactError when it is not there."""
    path = version_folder / (config.get("default_model_filename") or DEFAULT_NAME)
    if path.is_dir():
        path /= DEFAULT_NAME
    if not path.is_file():
        raise ArtifactError(
            f"model '{config.get('name', '')}' has no {path}: build it with `conch build`, or name the file "
            "in default_model_filename"
        )
    return path
