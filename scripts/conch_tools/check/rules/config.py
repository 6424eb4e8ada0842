"""Rules about one config.pbtxt by itself: it parses, and its tensors are declared in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tritonclient.grpc import model_config_pb2

from conch_tools.check.findings import Place, Problem, Severity, cure_for_name, listed
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository, Tensor
from conch_tools.check.rulebook import Rulebook

SYNTAX = Rulebook[Model](lambda repository: repository)
"""The one rule for configurations that cannot be read; all others look at those that can."""


def with_config(repository: Repository) -> Iterable[Model]:
    """Every model whose config.pbtxt is there and can be read."""
    return (model for model in repository.readable if model.config_file is not None)


CONFIG = Rulebook[Model](with_config)

_NEWER_FIELDS = {
    ("model_metrics",): "24.11",
    ("ensemble_scheduling", "max_inflight_requests"): "25.11",
}
"""Fields that the embedded server (2.51, release 24.10) does not know, with the release that brought them."""

_COMPLETING_BACKENDS = ("tensorflow", "tensorrt")
"""Backends that fill in single missing data types and dims; the others take a tensor as it is declared."""

_BATCH_INPUT_TYPES = ("TYPE_INT32", "TYPE_FP32")


@SYNTAX.rule("CFG001", Severity.ERROR)
def unparsable(model: Model) -> Iterator[Problem]:
    """A config.pbtxt is no valid protobuf text of a model configuration.

    Triton reads the file with the same strict parser: at the first unknown field, value or misplaced sign it
    gives up and the model is not even listed.

    Bad in `embed/config.pbtxt`:

        max_batchsize: 8

    Good:

        max_batch_size: 8
    """
    if model.config_file is not None and (fault := model.unparsable) is not None:
        yield Problem(Place(model.config_file, fault.line, fault.column), fault.sentence, fault.cure)


@CONFIG.rule("CFG002", Severity.ERROR)
def name_differs_from_folder(model: Model) -> Iterator[Problem]:
    """The name in config.pbtxt differs from the folder's.

    Triton finds models by folder and refuses one that calls itself something else.

    Bad in `sentiment/config.pbtxt`:

        name: "sentiments"

    Good:

        name: "sentiment"
    """
    name = model.config.name
    if name and name != model.name:
        cure = f'write `name: "{model.name}"`, or remove the line: the folder gives the name'
        yield Problem(model.place(model.marks.at("name")), f"`{name}` stands in folder `{model.name}`", cure)


@CONFIG.rule("CFG003", Severity.ERROR)
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


@CONFIG.rule("CFG004", Severity.ERROR)
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


@CONFIG.rule("CFG014", Severity.WARNING)
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


@CONFIG.rule("CFG015", Severity.WARNING)
def queue_policy_that_stalls(model: Model) -> Iterator[Problem]:
    """A queue policy makes single requests wait for half a second.

    With a queue limit, a queue timeout or priorities the dynamic batcher no longer prefetches: it asks whether an
    instance is waiting at that very moment. A request that comes just after an answer has gone out, when the instance
    is not back yet, finds none and wakes nobody; the batcher looks again after 500 ms. It strikes callers that send one
    request after the other, the more often the faster the model is, and instances hide it.

    Bad in `sentiment_tokenize/config.pbtxt`:

        dynamic_batching { default_queue_policy { max_queue_size: 64 } }

    Good:

        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    batching = model.marks.at("dynamic_batching")
    for field in ("default_queue_policy", "priority_queue_policy", "priority_levels"):
        if field in batching.fields:
            what = f"`{field}` in dynamic_batching turns prefetching off"
            cure = "remove it: bound the queue before Triton (a limit of requests in flight), and time by the deadline"
            yield Problem(model.place(batching.at(field)), what, cure)


@CONFIG.rule("CFG005", Severity.ERROR)
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


@CONFIG.rule("CFG006", Severity.ERROR)
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


@CONFIG.rule("CFG007", Severity.ERROR)
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


@CONFIG.rule("CFG008", Severity.ERROR)
def negative_batch_size(model: Model) -> Iterator[Problem]:
    """`max_batch_size` is negative.

    0 means that the model does not batch; Triton refuses a number below.

    Bad in `double/config.pbtxt`:

        max_batch_size: -1

    Good:

        max_batch_size: 0
    """
    size = model.config.max_batch_size
    if size < 0:
        what = f"max_batch_size is {size}"
        yield Problem(model.place(model.marks.at("max_batch_size")), what, "write 0 for a model that does not batch")


@CONFIG.rule("CFG009", Severity.ERROR)
def preferred_batch_too_large(model: Model) -> Iterator[Problem]:
    """A preferred batch size is outside 1 to `max_batch_size`.

    The dynamic batcher could never form such a batch; Triton refuses the configuration.

    Bad in `sentiment_tokenize/config.pbtxt`:

        dynamic_batching { preferred_batch_size: [ 4, 16 ] }

    Good:

        dynamic_batching { preferred_batch_size: [ 4, 8 ] }
    """
    largest = model.config.max_batch_size
    mark = model.marks.at("dynamic_batching").at("preferred_batch_size")
    for size in model.config.dynamic_batching.preferred_batch_size:
        if not 1 <= size <= largest:
            cure = f"choose sizes from 1 to {largest}" if largest > 0 else "set max_batch_size above 0"
            yield Problem(model.place(mark), f"preferred batch size {size}, max_batch_size {largest}", cure)


@CONFIG.rule("CFG010", Severity.ERROR)
def batch_input_without_source(model: Model) -> Iterator[Problem]:
    """A `batch_input` does not name exactly one input of the model as its source.

    It is computed from the shapes or element counts of that one input; Triton refuses any other number and
    unknown names.

    Bad in `sentiment_model/config.pbtxt`:

        batch_input {
          kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE
          target_name: "width"
          data_type: TYPE_FP32
          source_input: "ids"
        }

    Good:

        batch_input {
          kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE
          target_name: "width"
          data_type: TYPE_FP32
          source_input: "input_ids"
        }
    """
    names = [tensor.name for tensor in model.inputs]
    for index, batch_input in enumerate(model.config.batch_input):
        mark = model.marks.at("batch_input", index)
        sources = list(batch_input.source_input)
        if len(sources) != 1:
            what = f"batch_input {listed(batch_input.target_name)} has {len(sources)} source inputs"
            yield Problem(model.place(mark), what, "name one source_input")
        for source in sources:
            if source not in names:
                cure = cure_for_name(source, names, f"name one of the inputs: {listed(names)}")
                what = f"source_input `{source}` is no input of the model"
                yield Problem(model.place(mark.at("source_input")), what, cure)


@CONFIG.rule("CFG011", Severity.ERROR)
def batch_input_of_wrong_type(model: Model) -> Iterator[Problem]:
    """A `batch_input` is neither INT32 nor FP32.

    Triton writes these tensors itself and knows no other types for them.

    Bad in `sentiment_model/config.pbtxt`:

        target_name: "width"
        data_type: TYPE_INT64
        source_input: "input_ids"

    Good:

        target_name: "width"
        data_type: TYPE_FP32
        source_input: "input_ids"
    """
    for index, batch_input in enumerate(model.config.batch_input):
        data_type = model_config_pb2.DataType.Name(batch_input.data_type)
        if data_type not in _BATCH_INPUT_TYPES:
            mark = model.marks.at("batch_input", index)
            what = f"batch_input {listed(batch_input.target_name)} is {data_type}"
            yield Problem(model.place(mark.at("data_type")), what, f"use {' or '.join(_BATCH_INPUT_TYPES)}")


@CONFIG.rule("CFG012", Severity.ERROR)
def newer_than_the_server(model: Model) -> Iterator[Problem]:
    """A field is newer than the embedded server.

    Tritonserver 2.51 (release 24.10) does not know the field, so it cannot parse the file and does not list
    the model.

    Bad in `embed/config.pbtxt`:

        max_batch_size: 8
        model_metrics { }

    Good:

        max_batch_size: 8
    """
    for path, release in _NEWER_FIELDS.items():
        mark: Mark | None = model.marks
        for name in path:
            mark = mark.at(name) if mark is not None and name in mark.fields else None
        if mark is not None:
            what = f"`{'.'.join(path)}` came with release {release}; the embedded server is 24.10"
            yield Problem(model.place(mark), what, "remove it, or keep it for servers of that release")


@CONFIG.rule("CFG013", Severity.ERROR)
def batch_output_of_unknown_tensors(model: Model) -> Iterator[Problem]:
    """A `batch_output` does not name one input as its source, or names an output that there is not.

    The output is cut up by the shapes of that input; Triton refuses any other number and unknown names.

    Bad in `sentiment_model/config.pbtxt`:

        dynamic_batching { }
        batch_output {
          kind: BATCH_SCATTER_WITH_INPUT_SHAPE
          target_name: "scores"
          source_input: "input_ids"
        }

    Good:

        dynamic_batching { }
    """
    inputs = [tensor.name for tensor in model.inputs]
    outputs = [tensor.name for tensor in model.outputs]
    for index, batch_output in enumerate(model.config.batch_output):
        mark = model.marks.at("batch_output", index)
        if len(batch_output.source_input) != 1:
            sources = len(batch_output.source_input)
            what = f"batch_output {listed(batch_output.target_name)} has {sources} source inputs"
            yield Problem(model.place(mark), what, "name one source_input")
        for field, known in (("source_input", inputs), ("target_name", outputs)):
            for name in getattr(batch_output, field):
                if name not in known:
                    cure = cure_for_name(name, known, f"name one of {listed(known)}")
                    what = f"{field} `{name}` is no {'input' if known is inputs else 'output'} of the model"
                    yield Problem(model.place(mark.at(field)), what, cure)


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
