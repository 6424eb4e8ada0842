"""Rules about execution accelerators and the settings of NVIDIA's onnxruntime backend.

It reads accelerators for GPUs on a GPU only, so that a machine without one says nothing of a misspelt name; the names,
keys and values are those of its source, `src/onnxruntime.cc` of release 24.10.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2

from conch_steps.onnx_backend.rows import PARAMETER as RAGGED_ROWS
from conch_steps.onnx_backend.settings import ARENA_SHRINKAGE, DEVICE_ALLOCATOR, SESSION_ENTRIES
from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook

_TENSORRT, _CUDA, _OPENVINO = "tensorrt", "cuda", "openvino"
_GPU, _CPU = "gpu_execution_accelerator", "cpu_execution_accelerator"
_NAMES: Mapping[str, tuple[str, ...]] = {_GPU: (_TENSORRT, _CUDA), _CPU: (_OPENVINO,)}

_INTEGER = re.compile(r"[+-]?\d+")
_BOOLEANS = ("true", "on", "1", "false", "off", "0")
_PRECISIONS = ("FP32", "FP16", "INT8")


def _is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None


def _is_boolean(text: str) -> bool:
    return text.lower() in _BOOLEANS


@dataclass(frozen=True)
class _Value:
    """What the value of a key has to be."""

    wanted: str
    accepts: Callable[[str], bool]


_TEXT = _Value("a text", lambda text: True)
_FLAG = _Value("`true` or `false`", _is_boolean)
_NUMBER = _Value("a whole number", _is_integer)
_PRECISION = _Value(f"one of {listed(_PRECISIONS)}", _PRECISIONS.__contains__)

_TENSORRT_KEYS: Mapping[str, _Value] = {
    "precision_mode": _PRECISION,
    **dict.fromkeys(
        (
            "max_workspace_size_bytes", "trt_max_partition_iterations", "trt_min_subgraph_size", "trt_dla_core",
            "trt_builder_optimization_level", "trt_auxiliary_streams", "trt_ep_context_embed_mode",
        ),
        _NUMBER,
    ),
    **dict.fromkeys(
        (
            "int8_use_native_calibration_table", "trt_dla_enable", "trt_engine_cache_enable", "trt_dump_subgraphs",
            "trt_force_sequential_engine_build", "trt_context_memory_sharing_enable", "trt_layer_norm_fp32_fallback",
            "trt_timing_cache_enable", "trt_force_timing_cache", "trt_detailed_build_log",
            "trt_build_heuristics_enable", "trt_sparsity_enable", "trt_cuda_graph_enable", "trt_dump_ep_context_model",
        ),
        _FLAG,
    ),
    **dict.fromkeys(
        (
            "int8_calibration_table_name", "trt_engine_cache_path", "trt_engine_cache_prefix", "trt_timing_cache_path",
            "trt_tactic_sources", "trt_extra_plugin_lib_paths", "trt_profile_min_shapes", "trt_profile_max_shapes",
            "trt_profile_opt_shapes", "trt_ep_context_file_path",
        ),
        _TEXT,
    ),
}  # fmt: skip

_OVERWRITTEN = ("cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream")
"""Keys of the `cuda` accelerator that parameters of the model of the same names, or their defaults, overwrite."""

_PARAMETERS = (
    "execution_mode", "intra_op_thread_count", "inter_op_thread_count", "enable_mem_arena", "enable_mem_pattern",
    *_OVERWRITTEN, ARENA_SHRINKAGE, DEVICE_ALLOCATOR, *SESSION_ENTRIES, RAGGED_ROWS,
)  # fmt: skip
_Accelerator = tuple[str, model_config_pb2.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator, Mark]
"""An accelerator with the field that it stands in and its mark."""
_MISSPELT = 0.8
"""How like a known parameter another one must be to be taken for a misspelling of it: others are allowed."""

_WITHOUT_ACCELERATORS = ("python", "tensorrt", "pytorch", "dali", "fil", "vllm", "identity")
"""Backends that do not read this setting."""


def _onnx_models(repository: Repository) -> Iterator[Model]:
    return (model for model in repository.readable if model.backend.name == "onnxruntime" and not model.is_ensemble)


ONNX_MODELS = Rulebook[Model](_onnx_models)
MODELS = Rulebook[Model](lambda repository: (model for model in repository.readable if not model.is_ensemble))


@ONNX_MODELS.rule("ACC001", Severity.ERROR)
def accelerator_unknown(model: Model) -> Iterator[Problem]:
    """The onnxruntime backend does not know an execution accelerator.

    For GPUs it knows `tensorrt` and `cuda`, for CPUs `openvino`; it refuses a model with any other, where an instance
    runs on that kind of device.

    Bad in `sentiment_model/configs/gpu.pbtxt`:

        gpu_execution_accelerator { name: "tensorRT" parameters { key: "precision_mode" value: "FP16" } }

    Good:

        gpu_execution_accelerator { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } }
    """
    for side, accelerator, mark in _read_accelerators(model):
        if accelerator.name not in _NAMES[side]:
            cure = cure_for_name(accelerator.name, _NAMES[side], f"use {listed(_NAMES[side])}")
            yield Problem(model.place(mark.at("name")), f"{side} `{accelerator.name}` is unknown", cure)


@ONNX_MODELS.rule("ACC002", Severity.ERROR)
def tensorrt_key_unknown(model: Model) -> Iterator[Problem]:
    """The `tensorrt` accelerator does not know a parameter.

    The backend refuses the model on a GPU. Its names are not those of ONNX Runtime throughout: it is `precision_mode`,
    not `trt_fp16_enable`.

    Bad in `sentiment_model/configs/gpu.pbtxt`:

        parameters { key: "precision" value: "FP16" }

    Good:

        parameters { key: "precision_mode" value: "FP16" }
    """
    for _, accelerator, mark in _read_accelerators(model):
        for key in accelerator.parameters if accelerator.name == _TENSORRT else ():
            if key not in _TENSORRT_KEYS:
                cure = cure_for_name(key, _TENSORRT_KEYS, f"remove it; known are {listed(sorted(_TENSORRT_KEYS))}")
                what = f"accelerator `{_TENSORRT}` has no parameter `{key}`"
                yield Problem(model.place(mark.entry("parameters", key)), what, cure)


@ONNX_MODELS.rule("ACC003", Severity.ERROR)
def tensorrt_value_refused(model: Model) -> Iterator[Problem]:
    """A parameter of the `tensorrt` accelerator is not what it must be.

    The backend reads it on a GPU and refuses the model.

    Bad in `sentiment_model/configs/gpu.pbtxt`:

        parameters { key: "precision_mode" value: "half" }

    Good:

        parameters { key: "precision_mode" value: "FP16" }
    """
    for _, accelerator, mark in _read_accelerators(model):
        for key, value in accelerator.parameters.items() if accelerator.name == _TENSORRT else ():
            known = _TENSORRT_KEYS.get(key)
            if known is not None and not known.accepts(value):
                what = f"`{key}` is `{value}`, but must be {known.wanted}"
                yield Problem(model.place(mark.entry("parameters", key)), what, f"write {known.wanted}")


@ONNX_MODELS.rule("ACC004", Severity.WARNING)
def cuda_key_overwritten(model: Model) -> Iterator[Problem]:
    """A key of the `cuda` accelerator has no effect.

    The backend reads the accelerator first and then the model's own `parameters` of the same four names; where these
    are absent it takes their defaults, and what the accelerator says is lost.

    Bad in `sentiment_model/configs/gpu.pbtxt`:

        gpu_execution_accelerator { name: "cuda" parameters { key: "gpu_mem_limit" value: "1073741824" } }

    Good:

        gpu_execution_accelerator { name: "cuda" }

    Instead of:

        gpu_execution_accelerator { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } }
    """
    for _, accelerator, mark in _read_accelerators(model):
        for key in accelerator.parameters if accelerator.name == _CUDA else ():
            if key in _OVERWRITTEN:
                what = f"`{key}` of accelerator `{_CUDA}` is overwritten by the backend's default"
                cure = f"write it as a parameter of the model: `{key}` in `parameters`"
                yield Problem(model.place(mark.entry("parameters", key)), what, cure)


@ONNX_MODELS.rule("ACC005", Severity.WARNING)
def accelerator_without_device(model: Model) -> Iterator[Problem]:
    """An accelerator is for a device that no instance of the model runs on.

    The backend passes over it: accelerators for GPUs need an instance on a GPU.

    Bad in `sentiment_model/configs/gpu.pbtxt`:

        instance_group { kind: KIND_CPU }

    Good:

        instance_group { kind: KIND_GPU }
    """
    for side, accelerator, mark in _accelerators(model):
        if side == _GPU and _is_on_cpus(model):
            what = f"accelerator `{accelerator.name}` is for GPUs, and all instances are KIND_CPU"
            yield Problem(model.place(mark), what, "remove it, or write `kind: KIND_GPU` in an instance group")


@ONNX_MODELS.rule("ACC006", Severity.WARNING)
def parameter_misspelt(model: Model) -> Iterator[Problem]:
    """A parameter looks like a misspelling of one that the onnxruntime backend reads.

    Parameters that it does not know it passes over without a word, and the setting that was meant stays at its default.

    Bad in `sentiment_model/config.pbtxt`:

        parameters { key: "intra_op_threads_count" value { string_value: "1" } }

    Good:

        parameters { key: "intra_op_thread_count" value { string_value: "1" } }
    """
    for name in model.config.parameters:
        meant = closest(name, _PARAMETERS, _MISSPELT) if name not in _PARAMETERS else None
        if meant is not None:
            place = model.place(model.marks.entry("parameters", name))
            yield Problem(place, f"the onnxruntime backend has no parameter `{name}`", f"did you mean `{meant}`?")


@MODELS.rule("ACC007", Severity.WARNING)
def accelerators_not_read(model: Model) -> Iterator[Problem]:
    """Execution accelerators are given to a backend that reads none.

    They are for onnxruntime, tensorflow and openvino; others pass over them without a word.

    Bad in `embed/configs/gpu.pbtxt`:

        instance_group { kind: KIND_GPU }
        optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }

    Good:

        instance_group { kind: KIND_GPU }
    """
    if model.backend.name in _WITHOUT_ACCELERATORS and any(_accelerators(model)):
        place = model.place(model.marks.at("optimization").at("execution_accelerators"))
        yield Problem(place, f"backend `{model.backend.name}` reads no execution accelerators", "remove them")


def _is_on_cpus(model: Model) -> bool:
    kinds = {model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) for group in model.config.instance_group}
    return kinds == {"KIND_CPU"}


def _read_accelerators(model: Model) -> Iterator[_Accelerator]:
    """Those that the backend reads: the ones for GPUs only where an instance can be on one."""
    return (each for each in _accelerators(model) if not (each[0] == _GPU and _is_on_cpus(model)))


def _accelerators(model: Model) -> Iterator[_Accelerator]:
    """Every accelerator with the field that it stands in and its mark."""
    accelerators = model.config.optimization.execution_accelerators
    marks = model.marks.at("optimization").at("execution_accelerators")
    for side in _NAMES:
        for index, accelerator in enumerate(getattr(accelerators, side)):
            yield side, accelerator, marks.at(side, index)
