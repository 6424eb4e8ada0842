"""What a test says to a step and hears from it. Requests print as the code that makes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from conch_tools.errors import ContractBroken, StepFailed
from conch_tools.step_kit.tensors import Array

FEW_VALUES = 8
"""Arrays of more equal values are printed as one."""


@dataclass(frozen=True, repr=False)
class Request:
    """One request. Arrays keep their data type; lists get the one of config.pbtxt, and text in them becomes UTF-8."""

    inputs: Mapping[str, Any]
    outputs: Sequence[str] = ()
    """The outputs asked for; none means all."""
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    request_id: str = ""
    correlation_id: int | str = 0
    flags: int = 0
    timeout_us: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)

    def cancel(self) -> None:
        """What a client does that hangs up: from now on `is_cancelled()` is true, and the step may heed it."""
        self.cancelled.set()

    def __repr__(self) -> str:
        tensors = ", ".join(f"{name!r}: {_as_code(value)}" for name, value in self.inputs.items())
        shown = [f"{{{tensors}}}"]
        for other in fields(self)[1:-1]:
            value = getattr(self, other.name)
            if value:
                shown.append(f"{other.name}={value!r}")
        return f"Request({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For hypothesis, which would print every number of every array; what it finds is told by `fuzz_step`."""
        printer.text(f"Request of {', '.join(self.inputs)}")


def _as_code(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    kind = {"object": "object", "bool": "np.bool_"}.get(value.dtype.name, f"np.{value.dtype.name}")
    if value.size > FEW_VALUES and (value == value.flat[0]).all():
        return f"np.full({value.shape}, {_values(value.flat[0])}, {kind})"
    return f"np.array({_values(value.tolist())}, {kind}){'' if value.size else f'.reshape({value.shape})'}"


def _values(value: Any) -> str:
    """Of bytes or of numbers; numpy's own scalars have a repr that changed with numpy 2."""
    plain = value.item() if isinstance(value, np.generic) else value
    shown = repr(plain)
    return shown if "'" in shown or '"' in shown else re.sub(r"\b(nan|inf)\b", r"np.\1", shown)


@dataclass(frozen=True)
class Response:
    """Outputs by name, or an error."""

    outputs: Mapping[str, Array]
    error: StepFailed | None = None


@dataclass(frozen=True)
class Reply:
    """Everything that came back for one request: one response, or of a decoupled model any number."""

    responses: tuple[Response, ...]
    ended_apart: bool = False
    """Whether the flag of the end came without a response, as decoupled models may send it."""
    refused: bool = False
    """Whether Triton refused the request before the step saw it."""

    @property
    def error(self) -> StepFailed | None:
        """The first error among the responses."""
        return next((each.error for each in self.responses if each.error is not None), None)

    @property
    def outputs(self) -> dict[str, Array]:
        """Of the one response. Raises StepFailed when it is an error, ContractBroken when there is not one."""
        if self.error is not None:
            raise self.error
        if len(self.responses) != 1:
            raise ContractBroken(
                f"there are {len(self.responses)} responses where one was expected: "
                "ask a decoupled step with `execute`, and read `responses`"
            )
        return dict(self.responses[0].outputs)
