"""Pipelines: what is served, and the file that says where each comes from and how we know that it works.

A pipeline is an ensemble of the model repository with a pipeline.toml beside its config.pbtxt. Its steps are the models
whose names begin with its own: `sentiment` has `sentiment_tokenize`, `sentiment_model`, `sentiment_labels`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conch_tools.errors import RepositoryError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Task = Literal["feature-extraction", "text-classification", "image-classification"]
PIPELINE_FILE = "pipeline.toml"
FIRST_VERSION = "1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where the model comes from: exactly one of hub, folder and package, or a training alone."""

    hub: str | None = None
    """Hugging Face hub id."""
    revision: str | None = None
    """Commit, tag or branch of the hub id."""
    folder: Path | None = None
    """Local folder in Hugging Face's form; relative paths start at the pipeline's own folder."""
    package: str | None = None
    """Installed Python package whose `model` folder has that form."""
    training: str | None = None
    """Module of conch_tools.training: it adds a head and an adapter to the source, or makes the whole model."""

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        origins = [name for name in ("hub", "folder", "package") if getattr(self, name) is not None]
        if len(origins) > 1:
            raise ValueError(f"name one origin, not {' and '.join(origins)}")
        if not origins and self.training is None:
            raise ValueError("name an origin: hub, folder, package or training")
        return self


class Text(_Strict):
    """Limits of a text pipeline."""

    max_tokens: Annotated[int, Field(ge=2)]
    """Longer texts are truncated to this many tokens, special tokens included."""


class Sample(_Strict):
    """A request that shows the pipeline and proves it alive, with the answer it must give."""

    input: Mapping[str, str]
    """Public tensor to value; of `image`, a file beside pipeline.toml."""
    expect: Mapping[str, str | float | Sequence[float]]
    """Output tensor to its best label, or to its first numbers."""
    tolerance: float = 1e-3
    """Largest absolute difference of the numbers."""


class Gates(_Strict):
    """What a build must reach; one that does not is refused."""

    max_abs_difference: Annotated[float, Field(gt=0)] = 1e-4
    """Of every number of an answer, from the reference library's."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """On the training's held-out data."""


class Pipeline(_Strict):
    """One pipeline.toml, with its name and folder."""

    name: str
    folder: Path
    task: Task
    description: str
    source: Source
    samples: Annotated[Sequence[Sample], Field(min_length=1)]
    gates: Gates = Gates()
    text: Text | None = None

    @property
    def input_tensor(self) -> str:
        """The public input tensor, decided by the task."""
        return "image" if self.task.startswith("image") else "text"

    def step(self, role: str) -> str:
        """Name of the model that plays a role: tokenize, decode, model, labels."""
        return f"{self.name}_{role}"

    @property
    def models(self) -> list[str]:
        """The pipeline's steps that are in the repository, sorted."""
        return sorted(path.parent.name for path in self.folder.parent.glob(f"{self.name}_*/config.pbtxt"))

    def sample_value(self, sample: Sample) -> bytes:
        """The bytes to send for a sample: UTF-8 text, or the image file's content."""
        value = sample.input[self.input_tensor]
        return (self.folder / value).read_bytes() if self.input_tensor == "image" else value.encode()


def load_pipeline(folder: Path) -> Pipeline:
    """The pipeline in a folder of the repository. Raises RepositoryError naming file and field."""
    path = folder / PIPELINE_FILE
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return Pipeline(name=folder.name, folder=folder, **content)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as problem:
        raise RepositoryError(f"{path} is not readable as TOML: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RepositoryError(f"{path}: {where}: {first['msg']}") from problem


def load_pipelines(repository: Path, only: Sequence[str] = ()) -> list[Pipeline]:
    """The repository's pipelines by name, or those named in `only`. Raises RepositoryError for a name it lacks."""
    folders = {path.parent.name: path.parent for path in sorted(repository.glob(f"*/{PIPELINE_FILE}"))}
    if not folders:
        raise RepositoryError(
            f"{repository} has no pipeline: a pipeline is a folder with config.pbtxt and {PIPELINE_FILE}"
        )
    for name in only:
        if name not in folders:
            close = difflib.get_close_matches(name, folders, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(folders)}"
            raise RepositoryError(f"there is no pipeline `{name}` in {repository}: {hint}")
    return [load_pipeline(folder) for name, folder in folders.items() if not only or name in only]
