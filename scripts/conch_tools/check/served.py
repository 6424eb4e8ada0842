"""Models that a backend of ours serves, as the backend sees them: with its declaration, before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conch_steps.backends import declared
from conch_steps.errors import ModelConfigError, StepError
from conch_steps.onnx_backend.complete import is_complete
from conch_steps.parameters import CalledModel, Declaration, Parameter
from conch_steps.serving import StepModel
from conch_tools.check.completion import Completed, as_json, completed
from conch_tools.check.findings import Place
from conch_tools.check.repository import Model, Repository
from conch_tools.check.wiring import Wiring, wirings

LOGIC = "conch_steps"
"""The folder that lies beside the adaptors and tells our backends from others of their names."""

_CURE = re.compile(r": (run|build it again with) `conch build`$")


@dataclass(frozen=True, eq=False)
class ServedStep:
    """A model with what its backend wants of it. `wirings` are all ensembles of the repository."""

    model: Model
    step: StepModel
    wants: Declaration
    repository: Repository
    wirings: tuple[Wiring, ...]

    def place(self, parameter: str) -> Place:
        """Where in config.pbtxt a parameter stands, or its beginning where it does not."""
        return self.model.place(self.model.marks.entry("parameters", parameter))

    @cached_property
    def called(self) -> Mapping[str, CalledModel]:
        """The models that are called, by name."""
        names = [(readable(call.model, self.step), call) for call in self.wants.calls]
        return {name: call for name, call in names if name is not None}

    def completed(self, name: str) -> Completed | None:
        """A called model as it will be loaded; None where it is not there or cannot be read."""
        model = self.repository.models.get(name)
        return None if model is None or model.unparsable is not None else completed(model)


def served_steps(repository: Repository) -> Iterator[ServedStep]:
    """Every version of every model whose backend is declared, and whose files may be read."""
    ensembles = tuple(wirings(repository))
    for model in repository.readable:
        if is_ours(model):
            parameters = {key: value.string_value for key, value in model.config.parameters.items()}
            for number in model.readable_versions:
                step = StepModel(model.name, model.version_folder(number), parameters)
                wants = declared(model.backend.name, step)
                if wants is not None:
                    yield ServedStep(model, step, wants, repository, ensembles)


def is_ours(model: Model) -> bool:
    """Whether Triton will find our adaptor for a model, and not a C++ backend of the same name."""
    return model.adaptor is not None and (model.adaptor.parent.parent / LOGIC).is_dir()


def needs_completion(repository: Repository) -> bool:
    """Whether any model might be completed by its backend when it is loaded; ours complete nothing that lists its
    inputs and outputs, of others it cannot be told."""
    complete = (is_ours(model) and is_complete(as_json(model)) for model in repository if not model.is_ensemble)
    return not all(complete)


def readable(parameter: Parameter[str], step: StepModel) -> str | None:
    """The name that a parameter gives, None where it gives none that can be used."""
    try:
        return parameter.given(step)
    except ModelConfigError:
        return None


def clause(problem: StepError, model: Model, folder: Path) -> str:
    """A step's own sentence without the model and the folder, which are the place, and without the cure."""
    return _CURE.sub("", str(problem).replace(f"{folder}/", "").removeprefix(f"model `{model.name}`: "))


def build_of(model: Model) -> str:
    """The cure for files that a build makes."""
    return f"run `conch build {model.pipeline}`" if model.pipeline is not None else "run `conch build`"
