"""Pipelines: what is served, and the file that says where each comes from and how we know that it works.

A pipeline is an ensemble of the model repository with a pipeline.toml beside its config.pbtxt. Its steps are the models
whose names begin with its own: `sentiment` has `sentiment_tokenize`, `sentiment_model`, `sentiment_labels`. Where
several releases of it lie side by side, each is an ensemble over the same steps as well, `sentiment-v1`, with a
release.toml: what pipeline.toml said when the release was built.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from conch_tools.deployment import Deployment, Strict
from conch_tools.errors import PipelineFileError, RepositoryError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Task = Literal[
    "feature-extraction",
    "text-classification",
    "token-classification",
    "question-answering",
    "zero-shot-classification",
    "fill-mask",
    "image-classification",
    "zero-shot-image-classification",
    "tabular-classification",
    "tabular-vote",
    "time-series-forecasting",
    "retrieval",
]
"""What a pipeline does, in Hugging Face's words where they have one; it decides how the pipeline is built."""
Variant = Literal["graph", "fp16", "int8", "int8-calibrated"]
"""Another form of a pipeline's graph; conch_tools.build.variants says how each is made."""
Json: TypeAlias = Any
"""Whatever TOML can say: text, numbers, lists and tables of these."""

Label = Annotated[str, Field(pattern=r"^[^\n]+$")]
"""Name of a class."""

ORIGINS = ("hub", "folder", "package", "module", "file", "mlflow")
"""Where a model may come from; each is a field of [source]."""
PIPELINE_FILE = "pipeline.toml"
RELEASE_FILE = "release.toml"
RELEASE_MARK = "-v"
"""Between a pipeline's name and a release's number. No step has such a name: those go on with `_`."""
FIRST_VERSION = "1"


class Source(Strict):
    """Where the model comes from: exactly one of hub, folder, package, module, file and mlflow, or a training alone.

    A pipeline that only puts to use what others answer has none.
    """

    hub: str | None = None
    """Hugging Face hub id."""
    revision: str | None = None
    """Commit, tag or branch of the hub id."""
    folder: Path | None = None
    """Local folder in Hugging Face's form; relative paths start at the pipeline's own folder."""
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    """Installed Python package whose `model` folder has that form."""
    module: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """`package.module:function` of Python, which returns a torch.nn.Module. It runs when the pipeline is built."""
    file: Path | None = None
    """A model in one file, of the kind that its name ends with; relative paths start at the pipeline's own folder."""
    mlflow: Annotated[str, Field(pattern=r"^models:/[^/]")] | None = None
    """A registered model of MLflow: models:/name/version or models:/name@alias."""
    runs_code: bool = False
    """Whether the file may run code when it is loaded, as a pickle does: say so only of one whose maker is trusted."""
    training: str | None = None
    """Module of conch_tools.training: it adds a head and an adapter to the source, or makes the whole model."""

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        origins = [name for name in ORIGINS if getattr(self, name) is not None]
        if len(origins) > 1:
            raise ValueError(f"name one origin, not {' and '.join(origins)}")
        return self

    @property
    def is_named(self) -> bool:
        """Whether there is an origin or a training."""
        return any(getattr(self, name) is not None for name in (*ORIGINS, "training"))


class Text(Strict):
    """Limits of a text pipeline."""

    max_tokens: Annotated[int, Field(ge=2)]
    """Longer texts are truncated to this many tokens, special tokens included."""


class Image(Strict):
    """What an image classifier is told whose source says neither: a PyTorch module or TorchScript."""

    labels: Sequence[Label] = ()
    """Names of the classes, in the order of the logits; class_0, class_1 and so on where there are none."""
    preprocessing: Mapping[str, Json]
    """How pixels are made of an image, in the words of a preprocessor_config.json."""


class Table(Strict):
    """What a classifier of rows is told whose source says nothing of its classes."""

    labels: Annotated[Sequence[Label], Field(min_length=2)]
    """Names of the classes, in the order of the scores."""


class NumericFeature(Strict):
    """A named number within bounds, which belong to it."""

    type: Literal["numeric"]
    minimum: FiniteFloat
    maximum: FiniteFloat
    default: FiniteFloat | None = None
    """What stands in for an absent value; without one the feature must be given."""

    @model_validator(mode="after")
    def _in_order(self) -> NumericFeature:
        middle = self.minimum if self.default is None else self.default
        if not self.minimum <= middle <= self.maximum or self.minimum == self.maximum:
            raise ValueError("minimum, default and maximum must be in this order, and the bounds differ")
        return self


class CategoricalFeature(Strict):
    """A named value that is one of a few texts."""

    type: Literal["categorical"]
    categories: Annotated[Sequence[str], Field(min_length=2)]
    """In the order of the indices that the model knows them by."""
    default: str | None = None
    """What stands in for an absent value; without one the feature must be given."""

    @model_validator(mode="after")
    def _each_once(self) -> CategoricalFeature:
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("a category is named twice")
        if self.default is not None and self.default not in self.categories:
            raise ValueError(f"the default {self.default!r} is not one of the categories")
        return self


Feature = Annotated[NumericFeature | CategoricalFeature, Field(discriminator="type")]
"""What a value of a table's row may be."""


class Sample(Strict):
    """A request that shows the pipeline and proves it alive, with the answer it must give."""

    input: Mapping[str, Json]
    """Public tensor to value; of `image`, a file beside pipeline.toml. A table travels as a JSON object."""
    expect: Mapping[str, Json]
    """Output tensor to its first value or values. Of an answer in JSON, the part of it that must be there: of a list
    its first elements, of an object the fields named."""
    tolerance: float = 1e-3
    """Largest absolute difference of the numbers."""
    golden: bool = True
    """Whether the answer holds as long as the pipeline is well; false where data that changes at run time decides."""


class Likeness(Strict):
    """How far answers may be off from others. What it does not say must be the same."""

    max_abs_difference: Annotated[FiniteFloat, Field(gt=0)]
    """Of every number of an answer."""
    max_flips: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the cases whose best label may be another."""
    min_span_f1: Annotated[float, Field(ge=0, le=1)] = 1.0
    """F1 of things found: entities, answers, items of a catalogue."""
    min_cosine: Annotated[float, Field(ge=-1, le=1)] = -1.0
    """Of every vector."""


class Gates(Strict):
    """What a build must reach; one that does not is refused."""

    max_abs_difference: Annotated[FiniteFloat, Field(gt=0)] = 1e-4
    """Of every number of an answer, from the reference library's."""
    variant: Likeness | None = None
    """What another variant, version or server is held against by `conch parity`; without it, the same gate as a build.
    """
    minimum: Mapping[str, FiniteFloat] = {}
    """Measured quality by name (`accuracy`, `f1`), which held-out data must reach."""
    maximum: Mapping[str, FiniteFloat] = {}
    """Measured error by name (`mase`), which held-out data must stay under."""

    def missed_by(self, figures: Mapping[str, float]) -> str | None:
        """What is wrong with measured figures; None when they pass. A figure that was not measured is wrong as well."""
        for name in (*self.minimum, *self.maximum):
            if name not in figures:
                return f"its gates name `{name}`, but measured are {', '.join(figures) or 'none'}"
        for name, bound in self.minimum.items():
            if not figures[name] >= bound:
                return f"{name} on held-out data is {figures[name]:.4f}, its gate is at least {bound}"
        for name, bound in self.maximum.items():
            if not figures[name] <= bound:
                return f"{name} on held-out data is {figures[name]:.4f}, its gate is at most {bound}"
        return None


class Pipeline(Strict):
    """One pipeline.toml, with its name and folder."""

    name: str
    folder: Path
    release_of: str | None = None
    """Of a release that is served under its number: the pipeline's name. Its steps are the pipeline's."""
    task: Task
    description: str
    source: Source = Source()
    uses: Sequence[str] = ()
    """Other pipelines whose models this one's steps call; they are built and served with it."""
    samples: Annotated[Sequence[Sample], Field(min_length=1)]
    gates: Gates = Gates()
    variants: Sequence[Variant] = ()
    """Other forms of the model step's graph, built beside it; each must pass `gates.variant` and the quality gates."""
    text: Text | None = None
    image: Image | None = None
    table: Table | None = None
    features: Mapping[str, Feature] = {}
    """What a row of a tabular pipeline may hold, in the order of the model's columns."""
    members: Mapping[str, Annotated[FiniteFloat, Field(ge=0)]] = {}
    """Weights of the models that vote, by role; only their proportions count."""
    deployment: Deployment | None = None
    """What it is for, and the sizes that follow; `conch new` writes both."""

    @model_validator(mode="after")
    def _some_origin(self) -> Pipeline:
        if not self.source.is_named and not self.uses:
            origins = f"{', '.join(ORIGINS)} or training"
            raise ValueError(f"name an origin in [source] ({origins}), or `uses` other pipelines")
        return self

    @property
    def base(self) -> str:
        """The name that its steps begin with: its own, or that of the pipeline whose release it is."""
        return self.release_of or self.name

    @property
    def variant_gate(self) -> Likeness:
        """How far the answers of a variant may be off: what the gates say, else as little as a build's."""
        return self.gates.variant or Likeness(max_abs_difference=self.gates.max_abs_difference)

    def step(self, role: str) -> str:
        """Name of the model that plays a role: tokenize, decode, model, labels."""
        return f"{self.base}_{role}"

    @property
    def models(self) -> list[str]:
        """The pipeline's steps that are in the repository, sorted."""
        repository = self.folder.parent
        pipelines = pipeline_folders(repository)
        steps = [path.parent.name for path in repository.glob(f"{self.base}_*/config.pbtxt")]
        return sorted(step for step in steps if owner_of(step, pipelines) == self.base)

    def sample_inputs(self, sample: Sample) -> dict[str, Any]:
        """The values to send for a sample, by public tensor."""
        return {tensor: value_to_send(tensor, value, self.folder) for tensor, value in sample.input.items()}


def value_to_send(tensor: str, value: Json, folder: Path) -> Any:
    """What a value stands for: of `image`, the content of a file in `folder`; a table as the text of a JSON object.

    Raises OSError when the file cannot be read.
    """
    if tensor == "image":
        return (folder / value).read_bytes()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else value


def visible_folders(repository: Path) -> list[Path]:
    """The folders that may be models, sorted. Hidden ones are an editor's or a version control's: told to load all that
    there is, Triton would take them for models as well."""
    return sorted(path for path in repository.iterdir() if path.is_dir() and not path.name.startswith("."))


def pipeline_folders(repository: Path) -> dict[str, Path]:
    """The folders with a pipeline.toml by name, sorted."""
    # Of a folder that this user may not look into nothing is known; is_file() would raise.
    return {path.name: path for path in visible_folders(repository) if os.path.isfile(path / PIPELINE_FILE)}


def release_folders(repository: Path) -> dict[str, Path]:
    """The folders of releases that are served under their numbers, by name, sorted by pipeline and number."""
    found = [(*of, path) for path in visible_folders(repository) if (of := _release(path)) is not None]
    return {path.name: path for _, _, path in sorted(found)}


def releases_served_of(pipeline: str, numbered: Iterable[str]) -> list[str]:
    """The names of a pipeline's releases among those of `release_folders`, oldest first."""
    return [name for name in numbered if name.rpartition(RELEASE_MARK)[0] == pipeline]


def release_name(pipeline: str, number: int) -> str:
    """The name of the ensemble that serves one release."""
    return f"{pipeline}{RELEASE_MARK}{number}"


def _release(folder: Path) -> tuple[str, int] | None:
    """The pipeline and the number of the release that a folder serves; None of any other folder."""
    pipeline, _, number = folder.name.rpartition(RELEASE_MARK)
    known = pipeline and number.isdecimal() and (folder / RELEASE_FILE).is_file()
    return (pipeline, int(number)) if known else None


def version_numbers(model: Path) -> list[int]:
    """The numbers of a model's version folders, sorted; none of a model that is not there."""
    return sorted(int(path.name) for path in model.glob("[1-9]*") if path.name.isdecimal() and path.is_dir())


def newest_version(model: Path) -> str:
    """The name of the version folder that is served as the latest: the first one where there is none yet."""
    return str(max(version_numbers(model), default=FIRST_VERSION))


def owner_of(model: str, pipelines: Iterable[str]) -> str | None:
    """The pipeline that a model belongs to: itself, or the longest that its name continues by `_<step>`."""
    owners = (name for name in pipelines if model == name or model.startswith(f"{name}_"))
    return max(owners, key=len, default=None)


def models_of(pipelines: Sequence[Pipeline]) -> list[str]:
    """What a server is told to load for these pipelines.

    The steps are named although an ensemble brings its own: a model that a step calls is no step of the ensemble.
    """
    # Each once, because releases share steps.
    return list(dict.fromkeys(model for pipeline in pipelines for model in (pipeline.name, *pipeline.models)))


def load_pipeline(folder: Path) -> Pipeline:
    """The pipeline in a folder of the repository, or the release. Raises PipelineFileError naming file and fields."""
    release = _release(folder)
    path = folder / (PIPELINE_FILE if release is None else RELEASE_FILE)
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise PipelineFileError(path, [((), f"not readable as TOML: {problem}")]) from problem
    given = ("name", "folder", "release_of")
    told = [((field,), "take it out, where the file lies says it") for field in given if field in content]
    if told:
        raise PipelineFileError(path, told)
    try:
        return Pipeline(name=folder.name, folder=folder, release_of=release[0] if release else None, **content)
    except ValidationError as problem:
        raise PipelineFileError(path, [(each["loc"], each["msg"]) for each in problem.errors()]) from problem


def load_pipelines(repository: Path, only: Sequence[str] = (), *, releases: bool = False) -> list[Pipeline]:
    """The repository's pipelines by name, or those named in `only` with those they use; with `releases` also those of
    theirs that are served under their numbers. A release may be named as well.

    Raises RepositoryError for a name that the repository lacks, and for pipelines that use each other in a circle.
    """
    folders = pipeline_folders(repository)
    if not folders:
        raise RepositoryError(
            f"{repository} has no pipeline, a folder with config.pbtxt and {PIPELINE_FILE}: "
            "add one, or set CONCH_REPOSITORY to a repository that has some"
        )
    numbered = release_folders(repository)
    folders |= numbered
    for name in only:
        _require_known(name, folders, str(repository))
    pipelines: dict[str, Pipeline] = {}
    waiting = list(only or (name for name in folders if name not in numbered))
    while waiting:
        name = waiting.pop()
        if name not in pipelines:
            pipelines[name] = load_pipeline(folders[name])
            for used in pipelines[name].uses:
                _require_known(used, folders, f"{repository}, which {folders[name] / PIPELINE_FILE} `uses`")
            waiting.extend(pipelines[name].uses)
            if releases:
                waiting.extend(releases_served_of(name, numbered))
    uses = {name: pipeline.uses for name, pipeline in pipelines.items()}
    for name in uses:
        if circle := circle_of_uses(name, uses):
            said = " uses ".join(f"`{each}`" for each in circle)
            raise RepositoryError(f"{folders[name] / PIPELINE_FILE}: uses: {said}, in a circle: take one of them out")
    return [pipelines[name] for name in folders if name in pipelines]


def circle_of_uses(name: str, uses: Mapping[str, Sequence[str]]) -> list[str]:
    """The names from a pipeline back to itself, by what each uses; empty where there is no such way."""
    ways, seen = [[name]], set[str]()
    while ways:
        way = ways.pop()
        for used in uses.get(way[-1], ()):
            if used == name:
                return [*way, name]
            if used not in seen:
                seen.add(used)
                ways.append([*way, used])
    return []


def _require_known(name: str, folders: Mapping[str, Path], where: str) -> None:
    if name not in folders:
        close = difflib.get_close_matches(name, folders, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(folders)}"
        raise RepositoryError(f"there is no pipeline `{name}` in {where}: {hint}")
