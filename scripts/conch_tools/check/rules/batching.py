"""Rules about how requests are joined: batch sizes, queues, and the tensors that Triton computes for a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from conch_tools.check.findings import Place, Problem, Severity, cure_for_name, listed
from conch_tools.check.repository import Model
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.config import with_config

BATCHING = Rulebook[Model](with_config)

_BATCH_INPUT_TYPES = ("TYPE_INT32", "TYPE_FP32")
_STRATEGY = "TRITON_BATCH_STRATEGY_PATH"
_STRATEGY_FILE = "batchstrategy.so"
_ELF = b"\x7fELF"
"""How a library begins."""


@BATCHING.rule("CFG008", Severity.ERROR)
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


@BATCHING.rule("CFG009", Severity.ERROR)
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


@BATCHING.rule("CFG010", Severity.ERROR)
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


@BATCHING.rule("CFG011", Severity.ERROR)
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


@BATCHING.rule("CFG013", Severity.ERROR)
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
            named = getattr(batch_output, field)
            for name in (name for name, count in Counter(named).items() if count > 1 and known is outputs):
                yield Problem(model.place(mark.at(field)), f"{field} `{name}` stands there twice", "name it once")
            for name in named:
                if name not in known:
                    cure = cure_for_name(name, known, f"name one of {listed(known)}")
                    what = f"{field} `{name}` is no {'input' if known is inputs else 'output'} of the model"
                    yield Problem(model.place(mark.at(field)), what, cure)


@BATCHING.rule("CFG028", Severity.ERROR)
def batching_strategy_refused(model: Model) -> Iterator[Problem]:
    """A batching strategy of one's own cannot be used.

    The parameter `TRITON_BATCH_STRATEGY_PATH` names a library, else Triton takes `batchstrategy.so` from the version
    folder or the model's. It refuses a path where there is none, a file that is no library, and the parameter beside
    the sequence batcher.

    Bad in `embed/config.pbtxt`:

        backend: "python"
        parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/opt/nowhere.so" } }

    Good:

        backend: "python"
    """
    if model.is_ensemble:
        return
    place = model.place(model.marks.entry("parameters", _STRATEGY))
    given = model.config.parameters[_STRATEGY].string_value if _STRATEGY in model.config.parameters else None
    if model.config.HasField("sequence_batching"):
        if given is not None:
            yield Problem(place, f"{_STRATEGY} beside sequence_batching", "remove it")
        return
    local = [model.version_folder(number) / _STRATEGY_FILE for number in model.served_versions]
    path = (
        Path(given)
        if given
        else next((each for each in (*local, model.folder / _STRATEGY_FILE) if each.exists()), None)
    )
    if path is None:
        return
    if not path.is_file():
        yield Problem(place, f"{_STRATEGY} `{path}` is not there", "write the whole path of the library")
    elif not _is_library(path):
        yield Problem(place if given else Place(path), f"`{path.name}` is no library", "compile it to a shared library")


@BATCHING.rule("CFG029", Severity.ERROR)
def cache_refused(model: Model) -> Iterator[Problem]:
    """The response cache is on for a model that it cannot serve.

    Answers of sequences depend on what was asked before, and a decoupled model has any number of answers; Triton
    refuses the cache for both.

    Bad in `words/config.pbtxt`:

        model_transaction_policy { decoupled: true }
        response_cache { enable: true }

    Good:

        model_transaction_policy { decoupled: true }
    """
    if model.config.response_cache.enable:
        for used, name in (
            (model.config.HasField("sequence_batching"), "the sequence batcher"),
            (model.config.model_transaction_policy.decoupled, "decoupled answers"),
        ):
            if used:
                place = model.place(model.marks.at("response_cache"))
                yield Problem(place, f"response_cache beside {name}", "remove `response_cache`")


@BATCHING.rule("CFG015", Severity.WARNING)
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


def _is_library(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(_ELF)) == _ELF
