"""Rules about the inputs and outputs of one config.pbtxt: each is declared once and in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2

from conch_tools.check.completion import may_be_completed
from conch_tools.check.findings import Problem, Severity
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Tensor
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.config import with_config

TENSORS = Rulebook[Model](with_config)

_IMAGE_FORMATS = ("FORMAT_NHWC", "FORMAT_NCHW")
_TENSORRT = "tensorrt_plan"
_TENSORRT_ONLY = ("is_shape_tensor", "is_non_linear_format_io")


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
        if tensor.data_type == "TYPE_INVALID" and not may_be_completed(model):
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
        if not tensor.dims and not may_be_completed(model):
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


@TENSORS.rule("CFG025", Severity.ERROR)
def reshape_of_another_size(model: Model) -> Iterator[Problem]:
    """`reshape` holds another number of elements than `dims`.

    The bytes stay as they are, so both shapes must have the same number of elements, also between the dims of any size.
    An empty shape is one element; in a model that does not batch Triton refuses it altogether.

    Bad in `photo/config.pbtxt`:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] reshape { shape: [ 2 ] } }

    Good:

        output { name: "pixels" data_type: TYPE_FP32 dims: [ 1, 2, 2 ] }
    """
    for side, tensor, mark in _tensors(model):
        if tensor.reshape is None:
            continue
        dims, shape, place = list(tensor.dims), list(tensor.reshape), model.place(mark.at("reshape"))
        if not shape and not model.config.max_batch_size:
            what = f"{side} `{tensor.name}` is reshaped to a scalar in a model that does not batch"
            yield Problem(place, what, "write `shape: [ 1 ]`, or set max_batch_size above 0")
        elif dims and all(size > 0 or size == -1 for size in dims + shape) and _counts(dims) != _counts(shape):
            what = f"{side} `{tensor.name}` is reshaped from {dims} to {shape}"
            yield Problem(place, what, "write a shape with the same number of elements, and the same open dims")


@TENSORS.rule("CFG026", Severity.ERROR)
def image_format_of_another_rank(model: Model) -> Iterator[Problem]:
    """An input has the format of an image, and not three dims.

    FORMAT_NHWC and FORMAT_NCHW name the dims of one image, the batch left out; Triton refuses them beside any other
    number.

    Bad in `photo/config.pbtxt`:

        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] format: FORMAT_NCHW }

    Good:

        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    """
    for index, tensor in enumerate(model.config.input):
        name = model_config_pb2.ModelInput.Format.Name(tensor.format)
        if name in _IMAGE_FORMATS and tensor.dims and len(tensor.dims) != 3:
            what = f"input `{tensor.name}` is {name} with dims {list(tensor.dims)}"
            cure = "write the three dims of one image, without the batch, or remove `format`"
            yield Problem(model.place(model.marks.at("input", index).at("format")), what, cure)


@TENSORS.rule("CFG027", Severity.ERROR)
def tensor_of_tensorrt_only(model: Model) -> Iterator[Problem]:
    """A tensor is marked as one that only TensorRT has.

    Shape tensors, and tensors in one of TensorRT's own memory layouts (these with three dims), are known to the
    platform `tensorrt_plan`; Triton refuses the marks elsewhere.

    Bad in `photo/config.pbtxt`:

        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] is_shape_tensor: true }

    Good:

        input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }
    """
    tensorrt = model.backend.platform == _TENSORRT
    for side, tensors in (("input", model.config.input), ("output", model.config.output)):
        for index, tensor in enumerate(tensors):
            mark = model.marks.at(side, index)
            for field in (field for field in _TENSORRT_ONLY if getattr(tensor, field) and not tensorrt):
                what = f"{side} `{tensor.name}` has `{field}`, which is for platform `{_TENSORRT}`"
                yield Problem(model.place(mark.at(field)), what, "remove it")
            if tensorrt and tensor.is_non_linear_format_io and len(tensor.dims) != 3:
                what = f"{side} `{tensor.name}` has `is_non_linear_format_io` and dims {list(tensor.dims)}"
                yield Problem(model.place(mark.at("dims")), what, "write three dims")


def _declared_twice(model: Model, side: str) -> Iterator[Problem]:
    seen: Counter[str] = Counter()
    for _, tensor, mark in _tensors(model, side):
        seen[tensor.name] += 1
        if tensor.name and seen[tensor.name] == 2:
            what = f"{side} `{tensor.name}` is declared more than once"
            yield Problem(model.place(mark.at("name")), what, "remove or rename one of them")


def _counts(shape: list[int]) -> list[int]:
    """The number of elements before, between and after the dims of any size."""
    counts = [1]
    for size in shape:
        if size == -1:
            counts.append(1)
        else:
            counts[-1] *= size
    return counts


def _tensors(model: Model, *sides: str) -> Iterator[tuple[str, Tensor, Mark]]:
    """Inputs, then outputs, each with its side and its mark."""
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        if not sides or side in sides:
            for index, tensor in enumerate(tensors):
                yield side, tensor, model.marks.at(side, index)
