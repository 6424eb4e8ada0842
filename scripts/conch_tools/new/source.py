"""What a `--source` stands for: a folder, an installed package, or an id of the Hugging Face hub."""

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


def source_named(text: str) -> Source:
    """The source, its folder absolute. Raises SettingsError for what is none."""
    if text.startswith(PACKAGE):
        with contextlib.suppress(ValidationError):
            return Source(package=text.removeprefix(PACKAGE))
    path = Path(text).expanduser()
    if path.is_dir():
        return Source(folder=path.resolve())
    if HUB_ID.fullmatch(text) and not path.exists():
        hub, _, revision = text.partition("@")
        return Source(hub=hub, revision=revision or None)
    raise SettingsError(
        f"--source {text}: there is no such folder, and it is no hub id (owner/name) and no installed package "
        f"({PACKAGE}NAME)"
    )


def as_written(source: Source, pipeline_folder: Path) -> dict[str, str]:
    """The `[source]` of a pipeline.toml. A folder in the checkout is named from the pipeline's own, so that it is found
    wherever the checkout lies."""
    said = {name: str(value) for name, value in source.model_dump().items() if value is not None}
    checkout = pipeline_folder.parent.parent.resolve()
    if source.folder is not None and source.folder.is_relative_to(checkout):
        said["folder"] = os.path.relpath(source.folder, pipeline_folder.resolve())
    return said
