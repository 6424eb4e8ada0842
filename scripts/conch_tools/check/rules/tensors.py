"""Rules about the inputs and outputs of one config.pbtxt: each is declared once and in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from conch_tools.check.findings import Problem, Severity
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Tensor
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.config import with_config

TENSORS = Rulebook[Model](with_config)

_COMPLETING_BACKENDS = ("tensorflow", "tensorrt")
"""Backends that fill in single missing data types and dims; the others take a tensor as it is declared."""


@TENSORS.rule("CFG003", Severity.ERROR)
def tensor_without_name(model: Model) -> Iterator[Problem]:
    """An input or output has no name.

    Requests, ensembles and backends find tensors by name only; Triton refuses a configuration without one.

    Bad in `embed/config.pbtxt`:

        output { data_type: TYPE_FP32 dims: [ 2 ] }

    Good:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    for side, tensor, mark in _tensors(model):
        if not tensor.name:
            yield Problem(model.place(mark), f"an {side} has no name", "give it the name the model uses")


@TENSORS.rule("CFG004", Severity.ERROR)
def input_declared_twice(model: Model) -> Iterator[Problem]:
    """Two inputs have the same name.

    Triton loads the configuration but counts both while it keeps one, so that no request ever has the right
    number of inputs.

    Bad in `photo/config.pbtxt`:

        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }

    Good:

        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    """
    yield from _declared_twice(model, "input")


@TENSORS.rule("CFG005", Severity.ERROR)
def tensor_without_data_type(model: Model) -> Iterator[Problem]:
    """An input or output has no data type.

    Triton needs it to check requests and to read their bytes; without one it refuses the model.

    Bad in `photo/config.pbtxt`:

        output { name: "pixels" dims: [ 1, 2, 2 ] }

    Good:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }
    """
    for side, tensor, mark in _tensors(model):
        if tensor.data_type == "TYPE_INVALID" and model.backend.name not in _COMPLETING_BACKENDS:
            what = f"{side} `{tensor.name}` has no data type"
            yield Problem(model.place(mark), what, "add `data_type`, for example TYPE_FP32, or TYPE_STRING for BYTES")


@TENSORS.rule("CFG006", Severity.ERROR)
def tensor_without_dims(model: Model) -> Iterator[Problem]:
    """An input or output has no dims.

    Triton checks every request's shape against them and refuses a model without. They never hold the batch
    dimension of a model with `max_batch_size` above 0.

    Bad in `photo/config.pbtxt`:

        output { name: "pixels" data_type: TYPE_FP32 }

    Good:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }
    """
    for side, tensor, mark in _tensors(model):
        if not tensor.dims and model.backend.name not in _COMPLETING_BACKENDS:
            cure = "add `dims`, -1 for any size; for one value a request write `dims: [ 1 ]`"
            yield Problem(model.place(mark), f"{side} `{tensor.name}` has no dims", cure)


@TENSORS.rule("CFG007", Severity.ERROR)
def impossible_dim(model: Model) -> Iterator[Problem]:
    """A dimension is neither positive nor -1.

    Triton takes sizes from 1 up, and -1 for any size; it refuses all others.

    Bad in `photo/config.pbtxt`:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 0, 0 ] }

    Good:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }
    """
    for side, tensor, mark in _tensors(model):
        for field, sizes in (("dims", tensor.dims), ("reshape", tensor.reshape or ())):
            for size in sizes:
                if size < 1 and size != -1:
                    what = f"{side} `{tensor.name}` has {size} in its {field}"
                    yield Problem(model.place(mark.at(field)), what, "write the size, or -1 for any size")


@TENSORS.rule("CFG014", Severity.WARNING)
def output_declared_twice(model: Model) -> Iterator[Problem]:
    """Two outputs have the same name.

    Triton keeps the first and says nothing of the other, though its data type or dims may differ.

    Bad in `photo/config.pbtxt`:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }
        output { name: "pixels" data_type: TYPE_FP32 dims: [ -1, 2, 2 ] }

    Good:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }
    """
    yield from _declared_twice(model, "output")


def _declared_twice(model: Model, side: str) -> Iterator[Problem]:
    seen: Counter[str] = Counter()
    for _, tensor, mark in _tensors(model, side):
        seen[tensor.name] += 1
        if tensor.name and seen[tensor.name] == 2:
            what = f"{side} `{tensor.name}` is declared more than once"
            yield Problem(model.place(mark.at("name")), what, "remove or rename one of them")


def _tensors(model: Model, *sides: str) -> Iterator[tuple[str, Tensor, Mark]]:
    """Inputs, then outputs, each with its side and its mark."""
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        if not sides or side in sides:
            for index, tensor in enumerate(tensors):
                yield side, tensor, model.marks.at(side, index)
