"""Rules about a model's folder: versions, model files and label files are there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from conch_tools.check.backends import ADAPTOR, TRITON_BACKENDS
from conch_tools.check.findings import Place, Problem, Severity, cure_for_name, listed
from conch_tools.check.readable import LET_READ, dead_links_in
from conch_tools.check.repository import CONFIG, Model, Repository
from conch_tools.check.rulebook import Rulebook

FOLDERS = Rulebook[Model](lambda repository: repository)
"""Rules about any folder of the repository."""


def models(repository: Repository) -> Iterable[Model]:
    """Every folder that Triton can take for a model: it has a configuration or a version."""
    return (model for model in repository if model.config_file is not None or model.versions)


FILES = Rulebook[Model](models)
REPOSITORIES = Rulebook[Repository](lambda repository: [repository])

_SHELL_SIGNS = re.compile(r"[\s\"'\\$&;|<>()`*?\[\]]")
_NOT_IN_URLS = re.compile(r"[^A-Za-z0-9._~-]")
_COMPILED_BACKENDS = TRITON_BACKENDS - {"python", "vllm", "onnxruntime"}
"""Backends of Triton's own that run in its own process; onnxruntime is Python where the stand-in serves it."""

_LOST_AND_FOUND = "lost+found"
"""What file systems keep at their top for their own repair, closed to all but root: no model, whoever looks."""

_LARGEST_VERSION = 2**63 - 1

_SINGLE_FILE_BACKENDS = ("onnxruntime", "openvino", "python", "pytorch", "tensorflow", "tensorrt")
"""The backends that load the file `default_model_filename` from each version folder."""


@FOLDERS.rule("FIL001", Severity.WARNING)
def not_a_model(model: Model) -> Iterator[Problem]:
    """A folder of the repository holds neither config.pbtxt nor a version.

    Triton takes every folder for a model. Unless models are loaded by name, it does not start with one that
    is none.

    Bad with `notes/readme.txt`.
    """
    known = not model.unreadable or model.name == _LOST_AND_FOUND
    if known and model.config_file is None and not model.versions:
        cure = "add config.pbtxt, or move the folder out of the model repository"
        yield Problem(Place(model.folder), "this folder is no model", cure)


@FOLDERS.rule("FIL012", Severity.ERROR)
def not_readable(model: Model) -> Iterator[Problem]:
    """A file, a folder or a link of a model cannot be read.

    Triton refuses a model whose files this user may not read, and one with a link beside its versions that leads
    nowhere. Without its configuration, or with a folder that may not be listed, nothing else is known of a model.

    Bad with `words/notes` linked to `nowhere`.
    """
    if model.name != _LOST_AND_FOUND:
        for path in sorted(model.unreadable):
            yield Problem(Place(path), "this user may not read it", LET_READ)
    if model.folder not in model.unreadable and (model.config_file is not None or model.versions):
        yield from _dead_links(model.folder)


@REPOSITORIES.rule("FIL013", Severity.WARNING)
def link_to_nowhere(repository: Repository) -> Iterator[Problem]:
    """A link in the model repository leads nowhere or in a circle.

    Unless models are loaded by name, Triton looks at everything there to find them, and does not start when it cannot.

    Bad with `more` linked to `nowhere`.
    """
    yield from _dead_links(repository.folder)


@FILES.rule("FIL002", Severity.ERROR)
def no_version(model: Model) -> Iterator[Problem]:
    """The model has no version folder.

    Triton loads versions, folders with a number for a name, and refuses a model without any; an ensemble
    needs an empty one.

    Bad without `topics/1`.
    """
    if model.numbered_folders or model.unparsable is not None:
        return
    cure = "add the folder `1` and put the model's files there"
    if model.is_ensemble:
        cure = "add the folder `1` with a file .gitkeep in it, since git keeps no empty folders"
    yield Problem(Place(model.folder), "there is no version folder", _build(model) or cure)


@FILES.rule("FIL003", Severity.ERROR)
def no_version_selected(model: Model) -> Iterator[Problem]:
    """The version policy selects no version that is there.

    Triton loads the versions that the policy names and the folder has; if there are none, it refuses the
    model.

    Bad in `sentiment_model/config.pbtxt`:

        version_policy { specific { versions: [ 2 ] } }

    Good:

        version_policy { specific { versions: [ 1 ] } }
    """
    if model.numbered_folders and not model.served_versions:
        mark = model.marks.at("version_policy")
        present = listed(str(number) for number in model.numbered_folders)
        yield Problem(model.place(mark), "the version policy selects no version", f"choose among {present}")


@FILES.rule("FIL007", Severity.WARNING)
def version_selected_in_vain(model: Model) -> Iterator[Problem]:
    """The version policy names a version that is not there.

    Triton writes it into its log and serves the others that the policy names; requests for this one fail.

    Bad in `sentiment_model/config.pbtxt`:

        version_policy { specific { versions: [ 1, 2 ] } }

    Good:

        version_policy { specific { versions: [ 1 ] } }
    """
    mark = model.marks.at("version_policy").at("specific")
    wanted = model.config.version_policy.specific.versions
    for index, number in enumerate(wanted if model.served_versions else ()):
        if number not in model.numbered_folders:
            present = listed(str(each) for each in model.numbered_folders)
            what = f"the version policy names version {number}, which is not there"
            yield Problem(model.place(mark.at("versions", index)), what, f"add the folder, or choose among {present}")


@FILES.rule("FIL008", Severity.ERROR)
def name_that_a_shell_reads(model: Model) -> Iterator[Problem]:
    """The name of a model with a Python-based backend has a sign that means something to a shell.

    Triton starts the process of such a model by a shell line in which its name stands without quotes: the process
    gets a part of it, and dies.

    Bad with `words` named `two words`.
    """
    signs = sorted(set(_SHELL_SIGNS.findall(model.name)))
    if signs and not model.is_ensemble and model.backend.name not in _COMPILED_BACKENDS:
        yield Problem(Place(model.folder), f"the model's name has {_in_words(signs)}", _rename(model))


@FILES.rule("FIL009", Severity.WARNING)
def name_that_no_url_holds(model: Model) -> Iterator[Problem]:
    """A model's name has a sign that URLs hold in code only.

    Triton's HTTP endpoint takes `%20` and its like as they stand, so that no request by HTTP finds the model; by gRPC
    it can be asked.

    Bad with `words` named `wörter`.
    """
    signs = sorted(set(_NOT_IN_URLS.findall(model.name)))
    if signs:
        yield Problem(Place(model.folder), f"the model's name has {_in_words(signs)}", _rename(model))


@FILES.rule("FIL004", Severity.WARNING)
def folder_read_as_version(model: Model) -> Iterator[Problem]:
    """A folder's name begins with a number and goes on, and Triton takes the number for a version.

    It reads digits up to the first other sign: `3.old` is version 3, which the version policy can select, and
    then there is no folder `3` to load.

    Bad with `words/2.old/model.py`.
    """
    for number in model.served_versions:
        name = model.numbered_folders[number]
        if number not in model.versions:
            what = f"Triton takes the folder `{name}` for version {number}"
            yield Problem(Place(model.folder / name), what, "rename the folder so that it begins with a letter")


@FILES.rule("FIL005", Severity.ERROR)
def model_file_missing(model: Model) -> Iterator[Problem]:
    """A version folder lacks the model file.

    The backend loads the file of this name from every version that is served, and the load fails without it. What the
    `model.py` of a container's PyTorch loads is not looked at.

    Bad with `words/1/model.py` named `modle.py`.
    """
    backend = model.backend
    if model.unparsable is not None or model.is_ensemble or backend.name not in _SINGLE_FILE_BACKENDS:
        return
    if backend.name == "pytorch" and model.config.runtime == ADAPTOR:
        return
    # A plan can stand under one name per compute capability; which one is loaded shows on the GPU only.
    accepted = {backend.filename, *model.config.cc_model_filenames.values()}
    for number in model.served_versions:
        folder = model.version_folder(number)
        if not any(_is_model(folder / name, backend.name) for name in accepted):
            others = model.subfolders.get(folder.name, frozenset()) - {backend.filename}
            otherwise = "put it there, or name it in `default_model_filename`"
            rename = cure_for_name(backend.filename, others, otherwise)
            what = f"`{backend.filename}` is missing, which backend `{backend.name}` loads"
            yield Problem(Place(folder), what, _build(model) or rename)


@FILES.rule("FIL006", Severity.ERROR)
def label_file_missing(model: Model) -> Iterator[Problem]:
    """An output's label file is missing.

    Triton reads it when it loads the model, from the model's folder (not from the version's), and refuses the
    model without it.

    Bad in `sentiment_model/config.pbtxt`:

        label_filename: "label.txt"

    Good:

        label_filename: "labels.txt"
    """
    for index, output in enumerate(model.config.output):
        if output.label_filename and not model.file(output.label_filename).is_file():
            mark = model.marks.at("output", index).at("label_filename")
            what = f"label file `{output.label_filename}` of output `{output.name}` is missing"
            cure = _build(model) or f"put it into {model.folder}, or remove `label_filename`"
            yield Problem(model.place(mark), what, cure)


@FILES.rule("FIL010", Severity.ERROR)
def configuration_in_a_version(model: Model) -> Iterator[Problem]:
    """A config.pbtxt lies in a version folder, and the model has none.

    Triton reads it from the model's own folder, beside the versions, and takes the model for one without configuration.

    Bad with `notes/1/config.pbtxt`:

        platform: "ensemble"
    """
    for name, entries in sorted(model.subfolders.items()):
        if model.config_file is None and CONFIG in entries and name in map(str, model.versions):
            cure = f"move it to {model.folder / CONFIG}"
            yield Problem(Place(model.folder / name / CONFIG), "Triton does not look for a configuration here", cure)


@FILES.rule("FIL011", Severity.ERROR)
def version_beyond_64_bits(model: Model) -> Iterator[Problem]:
    """A folder's name begins with a number that no version can have.

    Triton reads it into 64 bits. The attempt ends the server, and all its models with it.

    Bad with `topics/99999999999999999999/.gitkeep`.
    """
    for number, name in model.numbered_folders.items():
        if number > _LARGEST_VERSION:
            what = f"version {number} is above {_LARGEST_VERSION}"
            yield Problem(Place(model.folder / name), what, "rename the folder, or move it away")


def data_file_faults(file: Path, name: str, needed: int, unlike: str = "") -> Iterator[tuple[str, str]]:
    """What is wrong with a file of a tensor's bytes, `needed` of them, that the configuration calls `name`; each with
    its cure, which ends in `unlike`: what people write into it instead."""
    if not file.is_file():
        yield f"is to come from `{name}`, which is not there", f"put the file into {file.parent}"
    elif file.stat().st_size < needed:
        what = f"needs {needed} bytes, `{name}` has {file.stat().st_size}"
        yield what, f"write the tensor's own bytes into it{unlike}"


def _dead_links(folder: Path) -> Iterator[Problem]:
    for link in dead_links_in(folder):
        what = f"this link leads to `{os.readlink(link)}`, which is not there"
        yield Problem(Place(link), what, "remove the link, or let it lead to what is there")


def _is_model(path: Path, backend: str) -> bool:
    """Whether a file is there, or the folder that a backend takes in its place. That of a graph holds `model.onnx`."""
    return path.is_file() or (path.is_dir() and (backend != "onnxruntime" or (path / "model.onnx").is_file()))


def _in_words(signs: list[str]) -> str:
    return listed("blank" if sign == " " else sign for sign in signs)


def _rename(model: Model) -> str:
    """The cure for a name: one of plain signs, which ensembles and callers then use as well."""
    return f"rename the folder, for example to `{re.sub(r'[^A-Za-z0-9_.-]+', '_', model.name)}`"


def _build(model: Model) -> str | None:
    """The cure for missing files of a model that Conch builds itself."""
    return f"run `conch build {model.pipeline}`" if model.pipeline is not None else None
