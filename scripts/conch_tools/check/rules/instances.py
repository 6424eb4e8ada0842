"""Rules about what a model is told to run on, and what it is warmed up with, before its first request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2

from conch_tools.check.completion import completed
from conch_tools.check.findings import Problem, Severity, cure_for_name, listed
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository, Tensor
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.rules.files import data_file_faults
from conch_tools.data_types import bytes_of, fits

_TENSORRT = "tensorrt_plan"
_LEADING_NUMBER = re.compile(r"\s*\+?\d")
"""What core reads a number from; it minds nothing that follows."""
_FOR_GPUS = "configs/gpu.pbtxt for `--profile gpu`; or check with `--gpu` what a machine with a GPU serves"
_WARMUP_FOLDER = "warmup"

INSTANCES = Rulebook[Model](lambda repository: (model for model in repository.readable if not model.is_ensemble))


def _without_gpu(repository: Repository) -> Iterator[Model]:
    """Models that are loaded without a GPU: those of pipelines, of profiles named cpu…, and all where there is none."""
    own_profile = repository.profile is not None
    for model in repository.readable if repository.for_cpus else ():
        if not model.is_ensemble and (own_profile or model.pipeline is not None or not repository.has_gpu):
            yield model


CPU_ONLY = Rulebook[Model](_without_gpu)


@CPU_ONLY.rule("CFG018", Severity.ERROR)
def gpu_where_there_is_none(model: Model) -> Iterator[Problem]:
    """A model wants a GPU where there is none.

    config.pbtxt of a pipeline, and the profiles whose names begin with `cpu`, are for machines without a GPU; so is any
    config.pbtxt where the machine has none. There Triton refuses a model with `kind: KIND_GPU`, and one that names
    GPUs. What is served on a machine with one is checked with `--gpu`.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_GPU }

    Good:

        instance_group { kind: KIND_CPU }
    """
    for group, mark in _groups(model):
        kind = model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind)
        if kind == "KIND_GPU":
            cure = f"remove `kind`, and write it into {_FOR_GPUS}"
            yield Problem(model.place(mark.at("kind")), "an instance group is KIND_GPU", cure)
        elif kind == "KIND_AUTO" and group.gpus:
            cure = f"remove `gpus`, and write them into {_FOR_GPUS}"
            yield Problem(model.place(mark.at("gpus")), "an instance group names GPUs", cure)


@INSTANCES.rule("CFG019", Severity.ERROR)
def gpus_of_another_kind(model: Model) -> Iterator[Problem]:
    """An instance group names GPUs but is of a kind that runs on none.

    Triton refuses `gpus` beside KIND_CPU and KIND_MODEL.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_CPU gpus: [ 0 ] }

    Good:

        instance_group { kind: KIND_CPU }
    """
    for group, mark in _groups(model):
        kind = model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind)
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            cure = f"remove `gpus`, or write `kind: KIND_GPU` in place of {kind}"
            yield Problem(model.place(mark.at("gpus")), f"an instance group of {kind} names GPUs", cure)


@INSTANCES.rule("CFG035", Severity.ERROR)
def passive_instance(model: Model) -> Iterator[Problem]:
    """A passive instance is where none can be.

    Passive instances take no requests of their own. Where all are, the first request ends the server. The sequence
    batcher hands sequences to passive ones as well, and such a sequence ends the server, too.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_CPU passive: true }

    Good:

        instance_group { kind: KIND_CPU }
    """
    passive = [mark for group, mark in _groups(model) if group.passive]
    of_sequences = model.config.HasField("sequence_batching")
    if passive and (of_sequences or len(passive) == len(model.config.instance_group)):
        what = (
            "an instance group is passive beside sequence_batching"
            if of_sequences
            else "every instance group is passive"
        )
        yield Problem(model.place(passive[0].at("passive")), what, "remove `passive`")


@INSTANCES.rule("CFG036", Severity.ERROR)
def optimization_profile_refused(model: Model) -> Iterator[Problem]:
    """An instance group names optimization profiles that the model cannot have.

    `profile` holds the numbers of a TensorRT plan's optimization profiles. Triton refuses it for every other platform,
    and what is no number.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_CPU profile: "0" }

    Good:

        instance_group { kind: KIND_CPU }
    """
    for group, mark in _groups(model):
        for index, profile in enumerate(group.profile):
            place = model.place(mark.at("profile", index))
            if model.backend.platform != _TENSORRT:
                yield Problem(place, "`profile` is for TensorRT plans only", "remove it")
            elif not _LEADING_NUMBER.match(profile):
                yield Problem(place, f"`{profile}` is no number of a profile", "write a number, from 0 on")


@INSTANCES.rule("CFG037", Severity.WARNING)
def rate_limiter_without_effect(model: Model) -> Iterator[Problem]:
    """A rate limiter does nothing.

    Resources and priorities of instances count where the server is started with `--rate-limit=execution_count`. They do
    not in Conch's server, nor by default.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_CPU rate_limiter { priority: 2 } }

    Good:

        instance_group { kind: KIND_CPU }
    """
    for _, mark in _groups(model):
        if "rate_limiter" in mark.fields:
            cure = "remove it, or start the server with that option"
            yield Problem(model.place(mark.at("rate_limiter")), "`rate_limiter` does nothing", cure)


@INSTANCES.rule("CFG038", Severity.WARNING)
def count_without_effect(model: Model) -> Iterator[Problem]:
    """An instance group asks for less than one instance.

    Triton takes that for no count at all and makes its default number: one, or two for the backends onnxruntime and
    tensorflow on a CPU.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_CPU count: 0 }

    Good:

        instance_group { kind: KIND_CPU }
    """
    for group, mark in _groups(model):
        if group.count < 1 and "count" in mark.fields:
            yield Problem(model.place(mark.at("count")), f"count is {group.count}", "write 1 or more, or remove it")


@INSTANCES.rule("CFG016", Severity.ERROR)
def warmup_refused(model: Model) -> Iterator[Problem]:
    """A warm-up sample is no request that the model takes.

    Triton sends the samples of `model_warmup` when it loads a model, and refuses the model when they do not go with
    its inputs; a batch above max_batch_size may even end the server with SIGSEGV. Their dims are those of one item,
    without the batch, and have no -1.

    Bad in `embed/config.pbtxt`:

        inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1, 1 ] zero_data: true } }

    Good:

        inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } }
    """
    as_loaded = completed(model)
    inputs = {tensor.name: tensor for tensor in as_loaded.inputs}
    for index, sample in enumerate(model.config.model_warmup):
        mark = model.marks.at("model_warmup", index)
        if not sample.batch_size:
            continue
        if 0 < as_loaded.max_batch_size < sample.batch_size:
            what = f"warm-up batch of {sample.batch_size}, max_batch_size {as_loaded.max_batch_size}"
            cure = f"set batch_size to at most {as_loaded.max_batch_size}"
            yield Problem(model.place(mark.at("batch_size")), what, cure)
        for name, tensor in inputs.items():
            if name not in sample.inputs and not tensor.optional:
                strangers = sorted(set(sample.inputs) - set(inputs))
                cure = cure_for_name(name, strangers, f"add it; the model's inputs are {listed(inputs)}")
                yield Problem(model.place(mark), f"the warm-up sample has no input `{name}`", cure)
        for name, data in sorted(sample.inputs.items()):
            entry = mark.entry("inputs", name)
            declared = inputs.get(name)
            known = declared if declared is not None and as_loaded.is_known(declared) else None
            for what, cure in _faults(model, data, known):
                yield Problem(model.place(entry), f"input `{name}` of the warm-up sample {what}", cure)


@INSTANCES.rule("CFG017", Severity.WARNING)
def warmup_skipped(model: Model) -> Iterator[Problem]:
    """A warm-up sample is skipped.

    Triton passes over samples without a `batch_size`, so that the first callers wait for what it should have done.

    Bad in `embed/config.pbtxt`:

        model_warmup {
          inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } }
        }

    Good:

        model_warmup {
          batch_size: 1
          inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } }
        }
    """
    for index, sample in enumerate(model.config.model_warmup):
        if not sample.batch_size:
            mark = model.marks.at("model_warmup", index)
            yield Problem(model.place(mark), "the warm-up sample has no batch_size", "write `batch_size: 1`")


def _faults(model: Model, data: model_config_pb2.ModelWarmup.Input, tensor: Tensor | None) -> Iterator[tuple[str, str]]:
    """What is wrong with the data for one input, each with its cure. Core reads that for inputs it does not know, too.

    `tensor` is None where nothing is known of the input.
    """
    given, dims = model_config_pb2.DataType.Name(data.data_type), tuple(data.dims)
    if tensor is not None and given != tensor.data_type:
        yield f"is {given}, the model's {tensor.data_type}", f"write `data_type: {tensor.data_type}`"
    if any(size < 1 for size in dims):
        yield f"has dims {list(dims)}", "write the sizes of one item, without -1 or 0"
    elif tensor is not None and not fits(dims, tensor.dims):
        hint = ", without the batch" if fits(dims[1:], tensor.dims) else ""
        yield f"has dims {list(dims)}, the model's {list(tensor.dims)}", f"write the dims of one item{hint}"
    if data.WhichOneof("input_data_type") is None:
        yield "has no data", "write `zero_data: true`, `random_data: true` or `input_data_file`"
    if data.HasField("input_data_file"):
        file = model.file(_WARMUP_FOLDER, data.input_data_file)
        needed = math.prod(dims) * bytes_of(given)
        yield from data_file_faults(file, data.input_data_file, needed, ", not an encoded image or text")


def _groups(model: Model) -> Iterator[tuple[model_config_pb2.ModelInstanceGroup, Mark]]:
    for index, group in enumerate(model.config.instance_group):
        yield group, model.marks.at("instance_group", index)
