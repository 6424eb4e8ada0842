"""Rules about the backend of a model: it is known, and it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conch_tools.check.backends import ENSEMBLE, KINDS, TRITON_BACKENDS, platforms_of
from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook

_ADAPTOR = "model.py"
"""What makes a folder a Python-based backend."""


@dataclass(frozen=True)
class Use:
    """A model that is no ensemble, and where its backend may lie."""

    model: Model
    folders: tuple[Path, ...] | None

    @property
    def name(self) -> str:
        """The backend's name, completed as core does it; empty if nothing tells."""
        return self.model.backend.name

    @property
    def library(self) -> str:
        """The file name of a C++ backend."""
        return f"libtriton_{self.name}.so"

    def is_there(self) -> bool:
        """Whether the backend is one of Triton's own, lies in a backend folder, or comes with the model."""
        local = any(self.library in entries for entries in self.model.subfolders.values())
        given = any(
            (folder / self.name / file).is_file() for folder in self.folders or () for file in (self.library, _ADAPTOR)
        )
        return self.name in TRITON_BACKENDS or local or given or (self.model.folder / self.library).is_file()


def uses(repository: Repository) -> Iterable[Use]:
    """Every model that needs a backend, with or without config.pbtxt."""
    return (
        Use(model, repository.backend_folders)
        for model in repository.readable
        if not model.is_ensemble and (model.config_file is not None or model.versions)
    )


BACKENDS = Rulebook[Use](uses)


@BACKENDS.rule("BAK001", Severity.ERROR)
def backend_not_given(use: Use) -> Iterator[Problem]:
    """Nothing tells which backend runs the model.

    Without `backend` Triton goes by `platform`, `default_model_filename` or the files in the first version
    folder, and refuses a model where none of them is one that it knows.

    Bad in `double/config.pbtxt`:

        platform: "onnx"

    Good:

        backend: "onnxruntime"
    """
    model = use.model
    if use.name:
        return
    if model.config.platform:
        known = sorted({kind.platform for kind in KINDS if kind.platform} | {ENSEMBLE})
        what = f"platform `{model.config.platform}` is unknown and no backend is given"
        cure = cure_for_name(
            model.config.platform, known, f'write `backend: "..."`; known platforms are {listed(known)}'
        )
        yield Problem(model.place(model.marks.at("platform")), what, cure)
    else:
        files = listed(kind.filename for kind in KINDS)
        what = "no backend is given, and no file in the first version folder tells which one is meant"
        yield Problem(model.place(model.marks), what, f'write `backend: "..."`, or put one of {files} there')


@BACKENDS.rule("BAK002", Severity.ERROR)
def backend_unknown(use: Use) -> Iterator[Problem]:
    """The backend is neither in the backend folders nor one of Triton's own.

    Triton looks for `libtriton_<backend>.so` beside the model and in `<backends>/<backend>`, then for
    `model.py` in the latter, and refuses the model when it finds none.

    Bad in `double/config.pbtxt`:

        backend: "onnx"

    Good:

        backend: "onnxruntime"
    """
    if not use.name or use.folders is None or use.is_there():
        return
    present = {path.parent.name for folder in use.folders for path in folder.glob(f"*/{_ADAPTOR}")}
    present |= {path.parent.name for folder in use.folders for path in folder.glob("*/libtriton_*.so")}
    empty = next((folder / use.name for folder in use.folders if (folder / use.name).is_dir()), None)
    if not use.model.config.backend and use.model.name.endswith(f".{use.name}"):
        cure = 'write `backend: "..."`: without one, Triton takes what follows the dot in the model\'s name for it'
    elif empty is not None:
        cure = f"add {_ADAPTOR} or {use.library} to {empty}"
    else:
        folders = ", ".join(str(folder) for folder in use.folders)
        cure = cure_for_name(use.name, present | TRITON_BACKENDS, f"add the folder `{use.name}` to {folders}")
    yield Problem(use.model.place(use.model.marks.at("backend")), f"backend `{use.name}` is not there", cure)


@BACKENDS.rule("BAK003", Severity.WARNING)
def backend_misspelt(use: Use) -> Iterator[Problem]:
    """The backend looks like a misspelling of one of Triton's own.

    No backend folders were named for this check, so it cannot know; Triton refuses a backend that it does not
    find.

    Bad in `double/config.pbtxt`:

        backend: "onnxruntim"

    Good:

        backend: "onnxruntime"
    """
    if use.name and use.folders is None and not use.is_there():
        meant = closest(use.name, TRITON_BACKENDS)
        if meant is not None:
            mark = use.model.marks.at("backend")
            cure = f"did you mean `{meant}`? If not, name the folder of your backends for the check"
            yield Problem(use.model.place(mark), f"backend `{use.name}` is none of Triton's own", cure)


@BACKENDS.rule("BAK004", Severity.ERROR)
def platform_of_another_backend(use: Use) -> Iterator[Problem]:
    """`platform` and `backend` do not go together.

    For its own frameworks Triton accepts one spelling of the platform beside each backend, and refuses other
    pairs.

    Bad in `double/config.pbtxt`:

        backend: "onnxruntime"
        platform: "tensorrt_plan"

    Good:

        backend: "onnxruntime"
        platform: "onnxruntime_onnx"

    Instead of:

        backend: "onnxruntime"
    """
    accepted = platforms_of(use.name)
    platform = use.model.backend.platform
    if accepted and platform not in accepted:
        what = f"platform `{platform}`" if platform else "an empty platform"
        what += f" does not go with backend `{use.name}`"
        cure = f"set `platform` to {' or '.join(accepted)}"
        yield Problem(use.model.place(use.model.marks.at("platform")), what, cure)
