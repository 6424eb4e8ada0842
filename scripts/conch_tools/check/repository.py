"""A model repository on disk as immutable values, read once; the rules only look at these.

Nothing here judges: a folder without config.pbtxt, with a broken one or without versions is a `Model` as
well.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tritonclient.grpc import model_config_pb2

from conch_tools.check.backends import ENSEMBLE, PYTHON, Backend, adaptor_of, resolve
from conch_tools.check.findings import Place
from conch_tools.check.graphs import Graph, UnreadableGraph, read_graph
from conch_tools.check.pbtxt import Mark, Unparsable, marks, parse, text_of
from conch_tools.check.readable import LET_READ, may_be_read, unreadable_in
from conch_tools.errors import PipelineFileError, SettingsError
from conch_tools.pipelines import PIPELINE_FILE, Pipeline, load_pipeline, owner_of, pipeline_folders, visible_folders

CONFIG = "config.pbtxt"
PROFILES = "configs"
"""The folder with a model's other configurations, one for each value of --model-config-name that it knows."""

CPU = "cpu"
"""How the name of a hardware profile without a GPU begins."""

_LEADING_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Tensor:
    """An input or output as config.pbtxt declares it; `dims` without the batch dimension, -1 for any size.

    `reshape` is the shape that the backend sees instead of `dims`, None where it is the same.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None
    optional: bool
    ragged: bool


@dataclass(frozen=True, eq=False)
class Model:
    """One folder of a repository. `config` is empty where there is none that can be read; `marks` are its
    lines. `config_file` is config.pbtxt, or the model's own file for the profile that is looked at.

    `pipeline` names the pipeline whose build makes this model's files, None if no pipeline.toml claims it.
    `backend_folders` are those of the repository. `unreadable` is what this user may not read of it: with a
    folder among that, or the configuration, nothing else is known of the model.
    """

    name: str
    folder: Path
    config_file: Path | None
    config: model_config_pb2.ModelConfig
    marks: Mark
    unparsable: Unparsable | None
    subfolders: Mapping[str, frozenset[str]]
    pipeline: str | None
    backend_folders: tuple[Path, ...] | None
    unreadable: frozenset[Path] = frozenset()

    @cached_property
    def backend(self) -> Backend:
        """The backend, completed as core does it."""
        first_folder = min(self.subfolders, default=None)
        return resolve(self.name, self.config, self.subfolders[first_folder] if first_folder else ())

    @cached_property
    def adaptor(self) -> Path | None:
        """The source of the Python-based backend that serves the model, None for any other backend."""
        return None if self.is_ensemble else adaptor_of(self.backend.name, self.backend_folders)

    @property
    def sources(self) -> Mapping[int, Path]:
        """The model.py of each version to be served of a model in Python, where it is there."""
        if self.is_ensemble or self.backend.name != PYTHON:
            return MappingProxyType({})
        files = {number: self.version_folder(number) / self.backend.filename for number in self.served_versions}
        return MappingProxyType({number: file for number, file in files.items() if self.is_file_to_read(file)})

    @property
    def is_ensemble(self) -> bool:
        """Whether the configuration wires other models instead of running a backend."""
        return bool(self.config.HasField("ensemble_scheduling")) or self.config.platform == ENSEMBLE

    @property
    def batches(self) -> bool:
        """Whether tensors carry a batch dimension in front of their dims."""
        return bool(self.config.max_batch_size > 0)

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs that config.pbtxt lists; none means that the backend may add them when it loads."""
        return tensors_of(self.config)[0]

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs that config.pbtxt lists; none means that the backend may add them when it loads."""
        return tensors_of(self.config)[1]

    @cached_property
    def versions(self) -> tuple[int, ...]:
        """The numbers of the version folders. Core takes no leading zeros: a folder 01 is none."""
        return tuple(number for number, name in self.numbered_folders.items() if name == str(number))

    @cached_property
    def numbered_folders(self) -> Mapping[int, str]:
        """What core takes for versions: it reads digits at the start of a name and ignores the rest."""
        found: dict[int, str] = {}
        for name in sorted(self.subfolders):
            number = _leading_number(name)
            if number is not None and (name == "0" or name[0] != "0"):
                found.setdefault(number, name)
        return MappingProxyType(dict(sorted(found.items())))

    @property
    def readable_versions(self) -> tuple[int, ...]:
        """Those of the versions to be served all of whose files this user may read."""
        folders = {number: self.version_folder(number) for number in self.served_versions}
        return tuple(n for n, folder in folders.items() if not any(folder in path.parents for path in self.unreadable))

    @cached_property
    def served_versions(self) -> tuple[int, ...]:
        """The numbers that core will load, by the version policy: the latest one unless told otherwise."""
        present = list(self.numbered_folders)
        policy = self.config.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return tuple(present)
            case "specific":
                return tuple(number for number in present if number in policy.specific.versions)
            case "latest":
                count = policy.latest.num_versions
            case _:
                count = 1
        return tuple(present[max(len(present) - count, 0) :])

    def version_folder(self, number: int) -> Path:
        """Where the backend looks for the files of a version."""
        return self.folder / str(number)

    def file(self, *names: str) -> Path:
        """Where core looks for a file that the configuration names: below the folder, with a / in front as well."""
        return self.folder.joinpath(*(name.lstrip("/") for name in names))

    @cached_property
    def graphs(self) -> Mapping[int, Graph | UnreadableGraph]:
        """The ONNX graphs of the versions to be served whose file is there; none for other backends."""
        if self.backend.name != "onnxruntime":
            return MappingProxyType({})
        graphs = {}
        for number in self.served_versions:
            file = self.version_folder(number) / self.backend.filename
            # A folder of that name holds the file together with its external data.
            file = file / "model.onnx" if file.is_dir() else file
            if self.is_file_to_read(file):
                graphs[number] = read_graph(file)
        return MappingProxyType(graphs)

    def is_file_to_read(self, path: Path) -> bool:
        """Whether a file is there, and this user may read it."""
        return path not in self.unreadable and os.path.isfile(path)

    def place(self, mark: Mark | None = None) -> Place:
        """Where in config.pbtxt `mark` is; the folder as a whole without a mark or without a file."""
        if self.config_file is None or mark is None:
            return Place(self.folder)
        return Place(self.config_file, mark.line)


@dataclass(frozen=True, eq=False)
class Repository:
    """All models of a repository by name, and the folders that hold backends (None: not told).

    `profile` is the hardware profile that it is looked at for. `hashed` says whether files are to be compared with
    the SHA-256 that a build recorded, which means to read them whole, `has_gpu` whether the machine that serves it has
    a GPU.
    """

    folder: Path
    models: Mapping[str, Model]
    backend_folders: tuple[Path, ...] | None
    profile: str | None = None
    hashed: bool = True
    has_gpu: bool = False

    def __iter__(self) -> Iterator[Model]:
        """Every model, in the order of names."""
        return iter(self.models.values())

    @property
    def for_cpus(self) -> bool:
        """Whether this is what a machine without a GPU loads: config.pbtxt, and profiles named cpu…"""
        return self.profile is None or self.profile.startswith(CPU)

    @cached_property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """The pipelines whose pipeline.toml can be read."""
        found = []
        for model in self:
            if model.is_file_to_read(model.folder / PIPELINE_FILE):
                with contextlib.suppress(PipelineFileError):
                    found.append(load_pipeline(model.folder))
        return tuple(found)

    @cached_property
    def readable(self) -> tuple[Model, ...]:
        """The models whose configuration could be read: all rules but one start from these."""
        return tuple(model for model in self if model.unparsable is None)


def profiles_of(folder: Path) -> list[str]:
    """The names of the hardware profiles that any model of a repository has a configuration for."""
    return sorted({path.stem for path in folder.glob(f"*/{PROFILES}/*.pbtxt")})


def config_file_of(folder: Path, profile: str | None) -> Path:
    """The configuration that Triton reads for a model with a profile: its own for that, if it has one."""
    own = folder / PROFILES / f"{profile}.pbtxt"
    return own if profile is not None and os.path.isfile(own) else folder / CONFIG


def load_repository(
    folder: Path,
    backends: Path | Sequence[Path] | None = None,
    profile: str | None = None,
    *,
    hashed: bool = True,
    has_gpu: bool = False,
    without_profile: Repository | None = None,
) -> Repository:
    """Read every model of `folder` as it is served with a profile; hidden folders are left out.

    `without_profile` is the same folder, read before: models without a configuration for the profile are taken from it.

    Raises:
        SettingsError: `folder` is no model repository.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder: name a model repository, a folder with one folder a model")
    if (folder / CONFIG).is_file():
        raise SettingsError(f"{folder} is one model, not a repository: name the folder that holds it")
    folders = None if backends is None else (backends,) if isinstance(backends, Path) else tuple(backends)
    pipelines = pipeline_folders(folder)
    models = {} if without_profile is None else dict(without_profile.models)
    for path in visible_folders(folder):
        if path.name not in models or config_file_of(path, profile).parent.name == PROFILES:
            models[path.name] = _load_model(path, owner_of(path.name, pipelines), profile, folders)
    return Repository(folder, MappingProxyType(models), folders, profile, hashed, has_gpu)


def _load_model(
    folder: Path, pipeline: str | None, profile: str | None, backend_folders: tuple[Path, ...] | None
) -> Model:
    config_file = config_file_of(folder, profile)
    unreadable = unreadable_in(folder, (CONFIG, PIPELINE_FILE))
    config, positions, unparsable = model_config_pb2.ModelConfig(), Mark(1, 1), None
    closed = config_file in unreadable or any(os.path.isdir(path) for path in unreadable)
    if closed:
        unparsable = Unparsable(1, 1, "it cannot be read", LET_READ)
    elif config_file.is_file():
        text = text_of(config_file)
        parsed = parse(text)
        if isinstance(parsed, Unparsable):
            unparsable = parsed
        else:
            config, positions = parsed, marks(text)
    folders = () if closed else (path for path in folder.iterdir() if path.is_dir())
    subfolders = {path.name: frozenset(each.name for each in path.iterdir()) for path in folders}
    labels = (folder / output.label_filename.lstrip("/") for output in config.output if output.label_filename)
    return Model(
        name=folder.name,
        folder=folder,
        config_file=config_file if not closed and config_file.is_file() else None,
        config=config,
        marks=positions,
        unparsable=unparsable,
        subfolders=MappingProxyType(subfolders),
        pipeline=pipeline,
        backend_folders=backend_folders,
        unreadable=unreadable | {path for path in labels if not may_be_read(path)},
    )


def _leading_number(name: str) -> int | None:
    match = _LEADING_NUMBER.match(name)
    return int(match[0]) if match else None


def tensors_of(config: model_config_pb2.ModelConfig) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs of a configuration."""
    inputs = tuple(_tensor(io, io.optional, io.allow_ragged_batch) for io in config.input)
    return inputs, tuple(_tensor(io, False, False) for io in config.output)


def _tensor(io: Any, optional: bool, ragged: bool) -> Tensor:
    return Tensor(
        name=io.name,
        data_type=model_config_pb2.DataType.Name(io.data_type),
        dims=tuple(io.dims),
        reshape=tuple(io.reshape.shape) if io.HasField("reshape") else None,
        optional=optional,
        ragged=ragged,
    )
