"""Settings in a ModelConfig: read from one, written into one. Pure.

What a field means when it is left out is Triton's rule, or the onnxruntime backend's; the rest of a configuration
passes untouched.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from conch_tools.tune.space import StepSettings

ONNXRUNTIME = "onnxruntime"
THREADS = "intra_op_thread_count"
SPINNING = "session.intra_op.allow_spinning"
"""Read by Conch's stand-in for the onnxruntime backend; the C++ backend passes over it."""
DEFAULT_ONNX_INSTANCES = 2
"""Of the onnxruntime backend on a CPU, in Triton's core; other backends get one."""


def settings_of(config: ModelConfig, cores: int) -> StepSettings | None:
    """How the model runs; None where its instances are of several groups, which no single count describes."""
    if len(config.instance_group) > 1 or config.HasField("ensemble_scheduling"):
        return None
    group = config.instance_group[0] if config.instance_group else ModelInstanceGroup()
    on_cpu = group.kind in (ModelInstanceGroup.KIND_AUTO, ModelInstanceGroup.KIND_CPU)
    runtime = config.backend == ONNXRUNTIME and on_cpu
    instances = group.count or (DEFAULT_ONNX_INSTANCES if runtime else 1)
    batching = config.dynamic_batching
    threads = int(config.parameters[THREADS].string_value or 0) if THREADS in config.parameters else 0
    return StepSettings(
        model=config.name,
        instances=instances,
        threads=(threads or max(1, cores // instances)) if runtime else None,
        spinning=runtime and SPINNING in config.parameters and config.parameters[SPINNING].string_value == "1",
        queue_delay_us=batching.max_queue_delay_microseconds if config.HasField("dynamic_batching") else None,
        preferred=tuple(batching.preferred_batch_size),
    )


def with_settings(config: ModelConfig, now: StepSettings, wanted: StepSettings) -> ModelConfig:
    """A copy that runs as wanted; what already is so now stays as it is written."""
    changed = ModelConfig()
    changed.CopyFrom(config)
    if wanted.instances != now.instances:
        group = changed.instance_group[0] if changed.instance_group else changed.instance_group.add()
        group.count = wanted.instances
    if wanted.threads is not None and (wanted.threads, wanted.instances) != (now.threads, now.instances):
        # Always said, because the backend's own choice follows the number of instances.
        changed.parameters[THREADS].string_value = str(wanted.threads)
    if wanted.spinning != now.spinning:
        changed.parameters[SPINNING].string_value = str(int(wanted.spinning))
    if wanted.queue_delay_us != now.queue_delay_us:
        changed.dynamic_batching.max_queue_delay_microseconds = wanted.queue_delay_us or 0
    if wanted.preferred != now.preferred:
        changed.dynamic_batching.preferred_batch_size[:] = wanted.preferred
    return changed


def as_json(config: ModelConfig) -> dict[str, Any]:
    """The form that Triton's load API takes."""
    found: dict[str, Any] = MessageToDict(config, preserving_proto_field_name=True)
    return found
