"""How the session is to run, from config.pbtxt: graph level, threads, memory and libraries.

Settings of GPUs (`gpu_execution_accelerator`, `cudnn_conv_algo_search`, `gpu_mem_limit`, ...) have no meaning
on a CPU and are ignored, as the C++ backend ignores them there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import BackendConfig

GraphLevel = Literal["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]

GRAPH_LEVELS: Mapping[int, GraphLevel] = {
    -1: "ORT_ENABLE_BASIC",
    1: "ORT_ENABLE_EXTENDED",
    2: "ORT_DISABLE_ALL",
}
"""`optimization.graph.level`; any other number means everything on."""

SESSION_ENTRIES: Mapping[str, str] = {
    # A spinning thread burns a core that the server and its callers share with us: on 2 cores, 139 requests/s
    # with spinning and 174 without.
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
}
"""Our defaults of onnxruntime session settings; parameters of the same name in config.pbtxt override them."""

DEVICE_ALLOCATOR = "session.use_device_allocator_for_initializers"
"""A session setting that the C++ backend takes from parameters from release 25.02 on."""

ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
"""The run setting that the C++ backend takes from parameters."""


@dataclass(frozen=True)
class SessionSettings:
    """Thread counts of 0 leave the choice to `threads`, respectively onnxruntime; None leaves its default."""

    graph_level: GraphLevel
    parallel: bool
    instances: int
    intra_op_threads: int
    inter_op_threads: int
    memory_arena: bool | None
    memory_pattern: bool | None
    session_entries: Mapping[str, str]
    run_entries: Mapping[str, str]
    op_libraries: tuple[str, ...]

    @classmethod
    def from_config(cls, config: BackendConfig) -> SessionSettings:
        """Raises ModelConfigError, naming the setting, for values that the C++ backend refuses too."""
        _refuse_accelerators(config)
        given = config.parameters
        return cls(
            graph_level=GRAPH_LEVELS.get(config.graph_level, "ORT_ENABLE_ALL"),
            parallel=_execution_mode(config) == 1,
            instances=max(1, config.instances),
            intra_op_threads=max(0, _integer(config, "intra_op_thread_count")),
            inter_op_threads=max(0, _integer(config, "inter_op_thread_count")),
            memory_arena=_boolean(config, "enable_mem_arena"),
            memory_pattern=_boolean(config, "enable_mem_pattern"),
            session_entries={
                **{key: given.get(key, default) for key, default in SESSION_ENTRIES.items()},
                **{key: given[key] for key in (DEVICE_ALLOCATOR,) if key in given},
            },
            run_entries={key: given[key] for key in (ARENA_SHRINKAGE,) if key in given},
            op_libraries=config.op_libraries,
        )

    def threads(self, cores: int) -> int:
        """Threads of one session: as configured, else this instance's share of the cores.

        onnxruntime would take all cores for each instance. Triton gives this backend two instances where the
        configuration says nothing, and on 2 cores they did 115 requests/s so, 160 with a thread each.
        """
        return self.intra_op_threads or max(1, cores // self.instances)


def _refuse_accelerators(config: BackendConfig) -> None:
    for name in config.cpu_accelerators:
        if name == "openvino":
            raise ModelConfigError(
                f"model '{config.model}': the openvino accelerator is in NVIDIA's onnxruntime backend only: "
                "remove cpu_execution_accelerator here, and keep it in a configuration of its own, "
                "configs/<name>.pbtxt"
            )
        raise ModelConfigError(
            f"model '{config.model}': unknown Execution Accelerator '{name}' is requested: "
            "cpu_execution_accelerator knows openvino only"
        )


def _execution_mode(config: BackendConfig) -> int:
    mode = _integer(config, "execution_mode")
    if mode not in (0, 1):
        raise _refused(config, "execution_mode", "0 (sequential) or 1 (parallel)")
    return mode


def _integer(config: BackendConfig, key: str) -> int:
    # As std::stoi, which the C++ backend uses: a leading number counts, the rest is dropped.
    number = re.match(r"\s*[+-]?[0-9]+", config.parameters.get(key, "0"))
    if number is None or abs(int(number[0])) >= 1 << 31:
        raise _refused(config, key, "a whole number")
    return int(number[0])


def _boolean(config: BackendConfig, key: str) -> bool | None:
    if key not in config.parameters:
        return None
    word = config.parameters[key].lower()
    if word in ("true", "on", "1"):
        return True
    if word in ("false", "off", "0"):
        return False
    raise _refused(config, key, "true or false")


def _refused(config: BackendConfig, key: str, expected: str) -> ModelConfigError:
    return ModelConfigError(
        f"model '{config.model}': parameter '{key}' is '{config.parameters.get(key, '')}', but must be {expected}"
    )
