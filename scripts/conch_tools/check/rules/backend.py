"""Rules about the backend of a model: it is known, and it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conch_tools.check.backends import ADAPTOR, ENSEMBLE, KINDS, PYTHON, TRITON_BACKENDS, library_of, platforms_of
from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.config import with_config

_YES_OR_NO = ("yes", "no")


@dataclass(frozen=True)
class Use:
    """A model that is no ensemble, and where its backend may lie."""

    model: Model
    folders: tuple[Path, ...] | None
    for_cpus: bool

    @property
    def name(self) -> str:
        """The backend's name, completed as core does it; empty if nothing tells."""
        return self.model.backend.name

    @property
    def library(self) -> str:
        """The file name of a C++ backend."""
        return library_of(self.name)

    @property
    def in_python(self) -> bool:
        """Whether the Python backend runs the model, by itself or for a Python-based backend."""
        given = any((folder / self.name / ADAPTOR).is_file() for folder in self.folders or ())
        return self.name == PYTHON or (given and not self.has(self.library))

    def is_there(self) -> bool:
        """Whether the backend is one of Triton's own, lies in a backend folder, or comes with the model."""
        return self.name in TRITON_BACKENDS or self.is_at_hand()

    def is_at_hand(self) -> bool:
        """Whether the backend lies in a backend folder, or comes with the model."""
        return self.has(self.library) or self.has(ADAPTOR)

    def has(self, file: str) -> bool:
        """Whether core finds a file of the backend: beside the model (no adaptor), or in a backend folder."""
        if self.name == PYTHON and file == self.library:
            return True
        beside = [self.model.folder, *(self.model.folder / name for name in self.model.subfolders)]
        given = [folder / self.name for folder in self.folders or ()]
        return any((folder / file).is_file() for folder in (given if file == ADAPTOR else [*beside, *given]))


def uses(repository: Repository) -> Iterable[Use]:
    """Every model that needs a backend, with or without config.pbtxt."""
    return (
        Use(model, repository.backend_folders, repository.for_cpus)
        for model in repository.readable
        if not model.is_ensemble and (model.config_file is not None or model.versions)
    )


BACKENDS = Rulebook[Use](uses)
AGENTS = Rulebook[Model](lambda repository: with_config(repository) if repository.for_cpus else ())


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
    present = {path.parent.name for folder in use.folders for path in folder.glob(f"*/{ADAPTOR}")}
    present |= {path.parent.name for folder in use.folders for path in folder.glob("*/libtriton_*.so")}
    empty = next((folder / use.name for folder in use.folders if (folder / use.name).is_dir()), None)
    if not use.model.config.backend and use.model.name.endswith(f".{use.name}"):
        cure = 'write `backend: "..."`: without one, Triton takes what follows the dot in the model\'s name for it'
    elif empty is not None:
        cure = f"add {ADAPTOR} or {use.library} to {empty}"
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


@BACKENDS.rule("BAK005", Severity.ERROR)
def backend_of_the_container(use: Use) -> Iterator[Problem]:
    """The backend comes with NVIDIA's containers only.

    config.pbtxt of a pipeline is for the embedded server, which has the `python` backend and those in the backend
    folders, and refuses a model of another one.

    Bad in `photo/config.pbtxt`:

        backend: "dali"

    Good:

        backend: "image_decoder"
    """
    own = use.for_cpus and use.model.pipeline is not None and use.folders is not None
    if own and use.name in TRITON_BACKENDS and not use.is_at_hand():
        what = f"backend `{use.name}` is not in the embedded server"
        cure = "write it into configs/gpu.pbtxt for the container, and one that is at hand here"
        yield Problem(use.model.place(use.model.marks.at("backend")), what, cure)


@BACKENDS.rule("BAK006", Severity.ERROR)
def runtime_not_there(use: Use) -> Iterator[Problem]:
    """`runtime` names no file that the backend has.

    It is the library of the backend, or `model.py` for one in Python, which Triton finds by itself where nothing is
    said. Triton looks for it in the version folder, beside it and in the backend's folder, and refuses a file that is
    elsewhere.

    Bad in `photo/config.pbtxt`:

        backend: "image_decoder"
        runtime: "libtriton_image_decoder.so"

    Good:

        backend: "image_decoder"
    """
    runtime = use.model.config.runtime
    elsewhere = use.name in TRITON_BACKENDS and not use.is_at_hand()
    if not runtime or not use.name or use.folders is None or use.has(runtime) or elsewhere:
        return
    what = f"runtime `{runtime}` of backend `{use.name}` is not there"
    yield Problem(use.model.place(use.model.marks.at("runtime")), what, "remove it: Triton finds the backend's own")


@AGENTS.rule("BAK007", Severity.ERROR)
def agent_not_there(model: Model) -> Iterator[Problem]:
    """A repository agent is not there.

    Agents work on a model's files before they are loaded. The embedded server has none and refuses a model that wants
    one; `model_repository_agents` without any ends it. NVIDIA's containers have `checksum`.

    Bad in `double/config.pbtxt`:

        max_batch_size: 0
        model_repository_agents { agents { name: "checksum" } }

    Good:

        max_batch_size: 0
    """
    mark = model.marks.at("model_repository_agents")
    if model.config.HasField("model_repository_agents"):
        names = listed((agent.name for agent in model.config.model_repository_agents.agents), "without any agent")
        what = f"model_repository_agents {names}, and the embedded server has none"
        yield Problem(model.place(mark), what, "remove it, or serve the model in a container")


@BACKENDS.rule("BAK008", Severity.ERROR)
def python_parameter_refused(use: Use) -> Iterator[Problem]:
    """A parameter of the Python backend is not what it must be.

    `FORCE_CPU_ONLY_INPUT_TENSORS` is `yes` or `no`, and `EXECUTION_ENV_PATH` a file or folder that is there; the
    backend refuses others when it loads a model. A path may begin with `$$TRITON_MODEL_DIRECTORY`, the model's folder.

    Bad in `embed/config.pbtxt`:

        backend: "python"
        parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "true" } }

    Good:

        backend: "python"
    """
    model = use.model
    given = {name: parameter.string_value for name, parameter in model.config.parameters.items()}
    if not use.in_python:
        return
    if (tensors := given.get("FORCE_CPU_ONLY_INPUT_TENSORS")) not in (None, "", *_YES_OR_NO):
        place = model.place(model.marks.entry("parameters", "FORCE_CPU_ONLY_INPUT_TENSORS"))
        what = f"FORCE_CPU_ONLY_INPUT_TENSORS is `{tensors}`"
        yield Problem(place, what, f"write {' or '.join(_YES_OR_NO)}")
    if environment := given.get("EXECUTION_ENV_PATH"):
        path = Path(environment.replace("$$TRITON_MODEL_DIRECTORY", str(model.folder)))
        if not path.exists():
            place = model.place(model.marks.entry("parameters", "EXECUTION_ENV_PATH"))
            yield Problem(place, f"EXECUTION_ENV_PATH `{environment}` is not there", "put the environment there")
