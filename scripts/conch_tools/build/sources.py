"""Find a pipeline's source model: a hub id, a local folder or an installed package becomes a folder to load from."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
from pathlib import Path
from typing import Any

from conch_steps.manifest import sha256_of
from conch_tools.build.hub import hub_folder
from conch_tools.build.model_folder import CONFIG, require_config, require_no_code
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import PIPELINE_FILE, Pipeline

POSITIONS_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Kinds of models whose first token has the position behind the padding id: so many less are left for texts."""


def source_folder(pipeline: Pipeline) -> Path:
    """Folder with config.json, weights and tokenizer. Raises BuildError saying what is missing and how to get it."""
    source = pipeline.source
    if source.folder is not None:
        folder = (pipeline.folder / source.folder).resolve()
    elif source.package is not None:
        folder = _package_folder(pipeline, source.package)
    elif source.hub is not None:
        folder = hub_folder(pipeline.name, source.hub, source.revision)
    else:
        raise BuildError(pipeline.name, "its source names no model: set hub, folder or package")
    require_config(pipeline.name, folder)
    return folder


def source_file(pipeline: Pipeline) -> Path:
    """The file that the source is. Raises BuildError where it names none, and where there is none."""
    if pipeline.source.file is None:
        raise BuildError(pipeline.name, f"{pipeline.task} needs a source that is a file, or mlflow, or a training")
    file = (pipeline.folder / pipeline.source.file).resolve()
    if not file.is_file():
        raise BuildError(pipeline.name, f"{pipeline.folder / PIPELINE_FILE}: source.file: there is no file {file}")
    return file


def model_config(pipeline: Pipeline) -> Any:
    """The source's config.json as transformers reads it. Raises BuildError for a kind of model that is not known."""
    return config_in(pipeline, source_folder(pipeline))


def config_in(pipeline: Pipeline, folder: Path) -> Any:
    """The same of any folder."""
    from transformers import AutoConfig

    try:
        # Said, because transformers would ask the terminal.
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as problem:  # what a wrong value raises has no class in common
        require_no_code(pipeline.name, folder, CONFIG)
        said = first_line(problem)
        raise BuildError(pipeline.name, f"transformers cannot read {folder / CONFIG}: {said}") from problem


def token_positions(pipeline: Pipeline, config: Any) -> int:
    """The tokens that one row of a text encoder may have, special ones included. Raises BuildError for a kind of model
    that is none."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 0 or config.is_encoder_decoder:
        raise BuildError(
            pipeline.name,
            f"its source is of the kind {config.model_type}: this task takes encoders with a limit of tokens "
            "(max_position_embeddings), such as bert, roberta or modernbert",
        )
    return int(positions) - (config.pad_token_id + 1 if config.model_type in POSITIONS_BEHIND_PADDING else 0)


def describe_source(pipeline: Pipeline) -> dict[str, str]:
    """What the manifest records of the origin: the names as written, the package's version, the file's hash, the
    pipelines used.

    Raises BuildError when the package is not installed, and when there is no such file.
    """
    source = pipeline.source
    said = {name: str(value) for name, value in source.model_dump(exclude_defaults=True).items()}
    if source.file is not None:
        said["sha256"] = sha256_of(source_file(pipeline))
    if source.package is not None:
        try:
            said["package_version"] = importlib.metadata.version(source.package)
        except importlib.metadata.PackageNotFoundError as problem:
            raise _not_installed(pipeline, source.package) from problem
    if pipeline.uses:
        said["uses"] = ", ".join(pipeline.uses)
    return said


def _package_folder(pipeline: Pipeline, package: str) -> Path:
    try:
        root = importlib.resources.files(package.replace("-", "_"))
    except ModuleNotFoundError as problem:
        raise _not_installed(pipeline, package) from problem
    return Path(str(root)) / "model"


def _not_installed(pipeline: Pipeline, package: str) -> BuildError:
    where = pipeline.folder / PIPELINE_FILE
    return BuildError(
        pipeline.name, f"{where}: source.package: {package} is not installed: correct the name, or install that package"
    )
