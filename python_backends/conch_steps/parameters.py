"""What a backend wants of a model that it serves, declared once beside its logic: parameters, files, models it calls.

The adaptor reads a model by its declaration when Triton loads it, `conch check` judges it by the same one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from conch_steps.errors import InvalidInput, ModelConfigError
from conch_steps.serving import StepModel

Value = TypeVar("Value")

REQUEST_PARAMETERS = "the request's own parameters"

TOKEN_TENSORS: Mapping[str, str] = {"input_ids": "TYPE_INT32", "length": "TYPE_INT32", "span": "TYPE_INT32"}
"""What a text model is sent: see conch_steps.text_tokenizer."""
SEGMENT_TENSORS: Mapping[str, str] = {"segments": "TYPE_INT32"}


@dataclass(frozen=True)
class Parameter(Generic[Value]):
    """A parameter of config.pbtxt: a text there, a value here."""

    name: str
    wanted: str
    """What it must be, as it ends the sentence of a refusal."""
    read: Callable[[str], Value]
    """From the text; raises ValueError or InvalidInput for one that is not usable."""
    default: str | None = None
    """The text that stands in for an absent one."""
    optional: bool = False
    """Whether it may be absent though nothing stands in for it."""

    def of(self, model: StepModel) -> Value:
        """The model's value, or the default. Raises ModelConfigError, also where there is neither."""
        text = model.parameters.get(self.name, self.default)
        if text is None:
            raise ModelConfigError(f"{self._in(model)} is missing: it must be {self.wanted}")
        try:
            return self.read(text)
        except (ValueError, InvalidInput) as problem:
            raise ModelConfigError(f"{self._in(model)} is {text!r:.80}, but must be {self.wanted}") from problem

    def given(self, model: StepModel) -> Value | None:
        """The same, but None where there is neither."""
        return None if self.name not in model.parameters and self.default is None else self.of(model)

    def _in(self, model: StepModel) -> str:
        return f"model `{model.name}`: parameter `{self.name}`"


def whole_number(name: str, default: int) -> Parameter[int]:
    """A parameter that counts something."""
    return Parameter(name, "a whole number above zero", _counted, str(default))


def _counted(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(text)
    return int(text)


def wished_number(name: str, value: object, most: int) -> int:
    """A request's own parameter that counts something. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(f"parameter `{name}` is {value!r:.40}, but must be a whole number from 1 to {most}")
    return value


def named(name: str, wanted: str, optional: bool = False) -> Parameter[str]:
    """A parameter that names something, as a model or a file."""
    return Parameter(name, wanted, _not_empty, optional=optional)


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


@dataclass(frozen=True)
class CalledModel:
    """A model of the repository that the step asks by itself."""

    model: Parameter[str]
    """Names it; where it is not given, nothing is called."""
    max_rows: Parameter[int]
    """How many rows one call has at most."""
    sent: Mapping[str, str]
    """Data types of the tensors that every call sends, by name."""
    output: str
    """The tensor that the step reads."""
    may_send: Mapping[str, str] = field(default_factory=dict)
    """Of those that only some calls send."""


@dataclass(frozen=True)
class Declaration:
    """Everything that a backend reads of a model beside its tensors."""

    parameters: tuple[Parameter[Any], ...] = ()
    files: Mapping[str, Callable[[StepModel], object]] = field(default_factory=dict)
    """Files of the version folder, each with what reads it at load: raises ArtifactError or ModelConfigError."""
    calls: tuple[CalledModel, ...] = ()
    classes_of: Callable[[StepModel], str] | None = None
    """The input whose last dimension are the classes that labels.txt names. Without one it is the called model's
    output, where the step has such a file at all."""
    depends_on: tuple[str, ...] = ()
    """What an answer depends on beside the content of the inputs, as it stands in a sentence: then Triton's response
    cache, which looks at nothing else, answers wrongly."""
