"""What a `--source` stands for: a folder, a file, a function, a package, an id of the Hugging Face hub, a model of
MLflow."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from pydantic import ValidationError

from conch_tools.errors import SettingsError
from conch_tools.pipelines import Source

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
PACKAGE = "package:"
MODULE = "module:"
MLFLOW = "models:/"
FILES = (".onnx", ".skops", ".joblib", ".pkl", ".pickle", ".pt", ".pth", ".mar")
"""Ends of names that are a file's, whether it is there or not."""


def source_named(text: str, trusted: bool = False) -> Source:
    """The source, its folder or file absolute; `trusted` says that it may run code. Raises SettingsError for what is
    none."""
    if text.startswith(PACKAGE):
        with contextlib.suppress(ValidationError):
            return Source(package=text.removeprefix(PACKAGE))
    if text.startswith(MODULE):
        try:
            return Source(module=text.removeprefix(MODULE))
        except ValidationError as problem:
            raise SettingsError(f"--source {text}: a function is named {MODULE}PACKAGE.MODULE:FUNCTION") from problem
    if text.startswith(MLFLOW):
        return Source(mlflow=text, runs_code=trusted)
    path = Path(text).expanduser()
    if path.is_dir():
        return Source(folder=path.resolve())
    if path.is_file():
        return Source(file=path.resolve(), runs_code=trusted)
    if path.suffix in FILES:
        raise SettingsError(f"--source {text}: there is no such file")
    if HUB_ID.fullmatch(text) and not path.exists():
        hub, _, revision = text.partition("@")
        return Source(hub=hub, revision=revision or None)
    raise SettingsError(
        f"--source {text}: there is no such folder or file, and it is no hub id (owner/name), no installed package "
        f"({PACKAGE}NAME), no function ({MODULE}PACKAGE.MODULE:FUNCTION) and no model of MLflow ({MLFLOW}NAME/VERSION)"
    )


def as_written(source: Source, pipeline_folder: Path) -> dict[str, str | bool]:
    """The `[source]` of a pipeline.toml. A folder or file in the checkout is named from the pipeline's own folder, so
    that it is found wherever the checkout lies."""
    checkout = pipeline_folder.parent.parent.resolve()
    said: dict[str, str | bool] = {}
    for name, value in source.model_dump(exclude_defaults=True).items():
        if isinstance(value, Path):
            inside = value.is_relative_to(checkout)
            said[name] = os.path.relpath(value, pipeline_folder.resolve()) if inside else str(value)
        else:
            said[name] = value
    return said
