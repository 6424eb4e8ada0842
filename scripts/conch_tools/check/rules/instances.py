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
from conch_tools.check.wiring import fits

_CPU = "cpu"
"""How the name of a hardware profile without a GPU begins."""
_WARMUP_FOLDER = "warmup"
_BITS = re.compile(r"\d+$")

INSTANCES = Rulebook[Model](lambda repository: (model for model in repository.readable if not model.is_ensemble))


def _without_gpu(repository: Repository) -> Iterator[Model]:
    """Models that a machine without a GPU must be able to load: those of pipelines, and of profiles named cpu…"""
    for model in repository.readable:
        profile = repository.profile
        if (profile or "").startswith(_CPU) or (profile is None and model.pipeline is not None):
            yield model


CPU_ONLY = Rulebook[Model](_without_gpu)


@CPU_ONLY.rule("CFG018", Severity.ERROR)
def gpu_in_a_profile_without(model: Model) -> Iterator[Problem]:
    """A model wants a GPU where there is none.

    config.pbtxt of a pipeline, and the profiles whose names begin with `cpu`, are for machines without a GPU. There
    Triton refuses a model with `kind: KIND_GPU`.

    Bad in `embed/config.pbtxt`:

        instance_group { kind: KIND_GPU }

    Good:

        instance_group { kind: KIND_CPU }
    """
    for group, mark in _groups(model):
        if group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU:
            cure = "remove `kind`, and write it into configs/gpu.pbtxt for `--profile gpu`"
            yield Problem(model.place(mark.at("kind")), "an instance group is KIND_GPU", cure)


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
        if not sample.batch_size or not inputs:
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
        for name in set(sample.inputs) & set(inputs):
            entry = mark.entry("inputs", name)
            for what, cure in _faults(model, sample.inputs[name], inputs[name]):
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


def _faults(model: Model, data: model_config_pb2.ModelWarmup.Input, tensor: Tensor) -> Iterator[tuple[str, str]]:
    """What is wrong with the data for one input, each with its cure."""
    given, dims = model_config_pb2.DataType.Name(data.data_type), tuple(data.dims)
    if given != tensor.data_type:
        yield f"is {given}, the model's {tensor.data_type}", f"write `data_type: {tensor.data_type}`"
    if any(size < 1 for size in dims):
        yield f"has dims {list(dims)}", "write the sizes of one item, without -1 or 0"
    elif not fits(dims, tensor.dims):
        hint = ", without the batch" if fits(dims[1:], tensor.dims) else ""
        yield f"has dims {list(dims)}, the model's {list(tensor.dims)}", f"write the dims of one item{hint}"
    if data.WhichOneof("input_data_type") is None:
        yield "has no data", "write `zero_data: true`, `random_data: true` or `input_data_file`"
    if data.HasField("input_data_file"):
        file = model.folder / _WARMUP_FOLDER / data.input_data_file
        wanted = math.prod(dims) * _bytes_of(given)
        if not file.is_file():
            yield f"is to come from `{data.input_data_file}`, which is not there", f"put the file into {file.parent}"
        elif file.stat().st_size < wanted:
            what = f"needs {wanted} bytes, `{data.input_data_file}` has {file.stat().st_size}"
            yield what, "write the tensor's own bytes into it, not an encoded image or text"


def _bytes_of(data_type: str) -> int:
    """Of one element; 0 for texts, which have any length."""
    bits = _BITS.search(data_type)
    return int(bits[0]) // 8 if bits else int(data_type == "TYPE_BOOL")


def _groups(model: Model) -> Iterator[tuple[model_config_pb2.ModelInstanceGroup, Mark]]:
    for index, group in enumerate(model.config.instance_group):
        yield group, model.marks.at("instance_group", index)
