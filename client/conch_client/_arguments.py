"""What callers give, checked by the argument's name before anything is asked.

Whether a value fits the model is not known here: `_encode` judges that, by the name of the tensor. A caller's
object may raise anything where it is read; that too becomes InvalidInput, with the object's error as its cause.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from io import BufferedIOBase, RawIOBase
from typing import Any, TypeAlias

import numpy as np

from ._call import Call
from ._cast import unreadable
from ._constants import (
    AGGREGATION_PARAMETER,
    HYPOTHESIS_TEMPLATE_PARAMETER,
    IMPOSSIBLE_ANSWER_PARAMETER,
    INT64_MAX,
    INT64_MIN,
    MAX_ANSWER_PARAMETER,
    MULTI_LABEL_PARAMETER,
    QUEUE_TIMEOUT_PARAMETER,
    TOP_K_PARAMETER,
    UINT64_MAX,
)
from ._errors import InvalidInput, is_unicode, shown
from ._protocol import Parameter

Check: TypeAlias = Callable[[str, object, Call], Parameter]


def rereadable(name: str, value: object, call: Call) -> object:
    """Iterators, sets and the like as lists: a call may have to read its values twice."""
    try:
        # The lines of a binary file are no items.
        if isinstance(
            value, str | bytes | bytearray | memoryview | list | tuple | Mapping | BufferedIOBase | RawIOBase
        ):
            return value
        if hasattr(value, "__array__") or not isinstance(value, Iterable):
            return value
        return list(value)
    except Exception as exc:
        raise _unreadable(name, value, exc, call) from exc


def is_empty(values: object) -> bool:
    """No items: an empty list, or an array, Series or DataFrame without rows."""
    if isinstance(values, list | tuple):
        return not values
    return shape_of(values)[:1] == (0,)


def shape_of(values: object) -> tuple[int, ...]:
    """The shape of an array, Series or DataFrame, else ()."""
    try:
        shape = getattr(values, "shape", ())
    except Exception:
        # What it is, whoever reads its values will say.
        shape = ()
    return shape if isinstance(shape, tuple) else ()


def texts(name: str, value: object, call: Call) -> list[str]:
    """A list, of one where a single text is given."""
    items = [value] if isinstance(value, str) else _listed(name, value, str, "a text or a list of texts", call)
    return [text(name, item, call) for item in items]


def labels(value: object, call: Call) -> list[str]:
    if isinstance(value, str):
        raise call.error(InvalidInput, "labels is a list of texts, got a single text: put it in a list")
    return [text("labels", item, call) for item in _listed("labels", value, str, "a list of texts", call)]


def mappings(name: str, value: object, call: Call) -> list[Mapping[str, object]]:
    if isinstance(value, Mapping):
        raise call.error(InvalidInput, f"{name} is a list of mappings, got a single one: put it in a list")
    return _listed(name, value, Mapping, "a list of mappings", call)


def _listed(name: str, value: object, kind: type[Any], takes: str, call: Call) -> list[Any]:
    """The items of any collection that is not taken for one by accident: a mapping for its keys, bytes for numbers."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | bytearray | memoryview | Mapping):
        raise call.error(InvalidInput, f"{name} is {takes}, got {type(value).__name__}")
    try:
        items = list(value)
    except Exception as exc:
        raise _unreadable(name, value, exc, call) from exc
    for place, item in enumerate(items):
        if not isinstance(item, kind):
            raise call.error(InvalidInput, f"{name} is {takes}, got {type(item).__name__} at [{place}]")
    return items


def mapping(name: str, value: object, call: Call) -> dict[Any, object]:
    """A copy."""
    if not isinstance(value, Mapping):
        raise call.error(InvalidInput, f"{name} is a mapping, got {type(value).__name__}")
    try:
        return dict(value)
    except Exception as exc:
        raise _unreadable(name, value, exc, call) from exc


def _unreadable(name: str, value: object, exc: Exception, call: Call) -> InvalidInput:
    return call.error(InvalidInput, f"{name}: {unreadable(value, exc)}")


def count(name: str, value: object, call: Call) -> int:
    """A whole number of at least 1."""
    number = whole_number(value)
    if number is None or not 1 <= number <= INT64_MAX:
        raise call.error(InvalidInput, f"{name} is a whole number of at least 1, got {shown(value)}")
    return number


def whole_number(value: object) -> int | None:
    """An int, numpy's as well; None for anything else, True and False among it."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:
        return None


def _flag(name: str, value: object, call: Call) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise call.error(InvalidInput, f"{name} is True or False, got {shown(value)}")
    return bool(value)


def text(name: str, value: object, call: Call) -> str:
    """A text that protobuf can carry."""
    if not isinstance(value, str):
        raise call.error(InvalidInput, f"{name} is a text, got {type(value).__name__}")
    if not is_unicode(value):
        raise call.error(InvalidInput, f"{name} holds a lone surrogate, which UTF-8 cannot write")
    return value


_TASK_PARAMETERS: dict[str, Check] = {
    TOP_K_PARAMETER: count,
    MAX_ANSWER_PARAMETER: count,
    IMPOSSIBLE_ANSWER_PARAMETER: _flag,
    MULTI_LABEL_PARAMETER: _flag,
    HYPOTHESIS_TEMPLATE_PARAMETER: text,
    AGGREGATION_PARAMETER: text,
}


def task_parameters(given: Mapping[str, object], call: Call) -> dict[str, Parameter]:
    """Those of our pipelines' own parameters that are given; None stands for the model's default."""
    return {name: _TASK_PARAMETERS[name](name, value, call) for name, value in given.items() if value is not None}


def model_parameters(given: object, call: Call) -> dict[str, Any]:
    """Parameters of any model, as far as Triton's protocol can carry them."""
    if given is None:
        return {}
    parameters = mapping("parameters", given, call)
    for name, value in parameters.items():
        text("the name of a parameter", name, call)
        if name == QUEUE_TIMEOUT_PARAMETER:
            raise call.error(InvalidInput, "the parameter 'timeout' follows from the call's deadline: use timeout_s")
        if not isinstance(value, bool | int | float | str):
            raise call.error(
                InvalidInput, f"the parameter '{name}' is a bool, int, float or str, got {type(value).__name__}"
            )
        if isinstance(value, int) and not INT64_MIN <= value <= UINT64_MAX:
            raise call.error(InvalidInput, f"the parameter '{name}' is beyond 64 bits")
        if isinstance(value, str):
            text(f"the parameter '{name}'", value, call)
    return parameters


def merged(inputs: object, tensors: Mapping[str, object], call: Call) -> dict[str, object]:
    """The tensors of `inputs` and those given as arguments, each once."""
    if inputs is None:
        return dict(tensors)
    if not isinstance(inputs, Mapping):
        problem = f"inputs is a mapping of tensor names to values, got {type(inputs).__name__}"
        raise call.error(InvalidInput, f"{problem}; for a tensor of that name write inputs={{'inputs': ...}}")
    given = mapping("inputs", inputs, call)
    for name in given:
        text("the name of an input", name, call)
        if name in tensors:
            raise call.error(InvalidInput, f"input '{name}' is given twice, in inputs and as an argument: give it once")
    return {**given, **tensors}
