"""What some sources do not tell of themselves and their users do: names of classes, how an image becomes pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from conch_tools.build.networks import is_saved_model, names_no_classes
from conch_tools.build.torchvision_images import SETTINGS
from conch_tools.errors import SettingsError
from conch_tools.pipelines import Image, Pipeline, Source, Table, Task

CLASSIFIERS: tuple[Task, ...] = ("image-classification", "tabular-classification")
"""Tasks of which there are such sources."""
LISTS = (".txt", ".json")
"""Ends of names that are a file's, whether it is there or not."""
USUAL = "as most image classifiers of PyTorch's are measured; the source does not tell: compare it with its training"
NUMBERED = "the source does not name its classes, so they are numbered: put names in their place"


def class_names(said: str) -> list[str]:
    """Of names with commas between, or of a file: one a line, or JSON, a list or an object from index to name.

    Raises SettingsError for a file that is not there, and for one that names no classes.
    """
    file = Path(said).expanduser()
    if not file.is_file():
        if file.suffix in LISTS:
            raise SettingsError(f"--labels {said}: there is no such file")
        return [name.strip() for name in said.split(",") if name.strip()]
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        found = json.loads(text)
        listed = found if isinstance(found, list) else [found[str(index)] for index in range(len(found))]
    except (ValueError, KeyError, TypeError) as problem:
        raise SettingsError(f"--labels {said}: it must be a list of names, or map 0, 1, … to them") from problem
    return [str(name[-1] if isinstance(name, list) and name else name) for name in listed]


def preprocessing_in(said: str) -> dict[str, Any]:
    """Of a preprocessor_config.json. Raises SettingsError when it is none."""
    try:
        found = json.loads(Path(said).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise SettingsError(f"--preprocessing {said} is no preprocessor_config.json: {problem}") from problem
    if not isinstance(found, dict):
        raise SettingsError(f"--preprocessing {said} is no preprocessor_config.json: it holds no object")
    # TOML knows no nothing.
    return {name: value for name, value in found.items() if value is not None}


def tables_of(
    task: Task, source: Source, labels: Sequence[str], preprocessing: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The tables of pipeline.toml that say it; the source's paths are absolute. Raises SettingsError for what it tells
    itself."""
    of_images = task == "image-classification"
    if not names_no_classes(source) or task not in CLASSIFIERS:
        if labels:
            raise SettingsError("--labels: this source names its classes itself")
        if preprocessing is not None:
            raise SettingsError("--preprocessing: this source says itself what it takes")
        return {}
    if preprocessing is not None and not of_images:
        raise SettingsError(f"--preprocessing is about images, not about {task}")
    if of_images and preprocessing is None and is_saved_model(source):
        raise SettingsError(
            "a SavedModel does not tell how an image becomes pixels, and there is no usual way: say --preprocessing, a "
            "preprocessor_config.json"
        )
    try:
        if of_images:
            return {"image": Image(labels=labels, preprocessing=preprocessing or SETTINGS)}
        return {"table": Table(labels=labels)} if labels else {}
    except ValidationError as problem:
        raise SettingsError(f"--labels: {problem.errors()[0]['msg']}") from problem


def assumed(pipeline: Pipeline) -> list[str]:
    """What a new pipeline says without anybody having said so."""
    if pipeline.image is None and pipeline.table is None:
        return []
    found = []
    if pipeline.image is not None and pipeline.image.preprocessing == SETTINGS:
        found.append(f"[image.preprocessing] is {USUAL}")
    labels = pipeline.image.labels if pipeline.image else pipeline.table.labels if pipeline.table else []
    if all(name == f"class_{index}" for index, name in enumerate(labels)):
        found.append(NUMBERED)
    return found
