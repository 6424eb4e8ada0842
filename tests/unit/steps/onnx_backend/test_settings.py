"""Session settings follow config.pbtxt with the C++ backend's readings and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import BackendConfig
from conch_steps.onnx_backend.settings import SessionSettings


def settings(parameters: dict[str, str] | None = None, **config: Any) -> SessionSettings:
    strings = {key: {"string_value": value} for key, value in (parameters or {}).items()}
    return SessionSettings.from_config(BackendConfig.from_json({**config, "parameters": strings}))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (-1, "ORT_ENABLE_BASIC"),
        (0, "ORT_ENABLE_ALL"),
        (1, "ORT_ENABLE_EXTENDED"),
        (2, "ORT_DISABLE_ALL"),
    ],
)
def test_graph_levels_map_as_in_the_cpp_backend(level: int, expected: str) -> None:
    assert settings(optimization={"graph": {"level": level}}).graph_level == expected
    assert settings().graph_level == "ORT_ENABLE_ALL"


def test_thread_counts_apply_when_above_zero() -> None:
    chosen = settings({"intra_op_thread_count": "3", "inter_op_thread_count": "-1"})
    assert (chosen.threads(cores=8), chosen.inter_op_threads) == (3, 0)


def test_instances_share_the_cores_unless_told_otherwise() -> None:
    shared = settings(instance_group=[{"count": 2}])
    assert [shared.threads(cores) for cores in (1, 2, 8)] == [1, 1, 4]


def test_a_number_is_read_as_the_cpp_backend_reads_it() -> None:
    assert settings({"intra_op_thread_count": " 2 threads"}).intra_op_threads == 2


@pytest.mark.parametrize("value", ["", "two", "99999999999"])
def test_a_count_that_is_no_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(ModelConfigError, match=r"parameter 'intra_op_thread_count' is .* a whole number"):
        settings({"intra_op_thread_count": value})


def test_execution_modes_are_sequential_and_parallel() -> None:
    assert settings({"execution_mode": "1"}).parallel
    assert not settings({"execution_mode": "0"}).parallel
    with pytest.raises(ModelConfigError, match=r"'execution_mode' is '2', but must be 0 .* or 1"):
        settings({"execution_mode": "2"})


def test_memory_flags_are_words_or_digits() -> None:
    chosen = settings({"enable_mem_arena": "False", "enable_mem_pattern": "1"})
    assert (chosen.memory_arena, chosen.memory_pattern) == (False, True)
    assert settings().memory_arena is None
    with pytest.raises(ModelConfigError, match="'enable_mem_arena' is 'maybe', but must be true or false"):
        settings({"enable_mem_arena": "maybe"})


def test_threads_do_not_spin_unless_asked_to() -> None:
    assert settings().session_entries["session.intra_op.allow_spinning"] == "0"
    spinning = settings({"session.intra_op.allow_spinning": "1"})
    assert spinning.session_entries["session.intra_op.allow_spinning"] == "1"


def test_arena_shrinkage_is_a_run_option() -> None:
    key = "memory.enable_memory_arena_shrinkage"
    assert settings({key: "cpu:0"}).run_entries == {key: "cpu:0"}


def test_settings_of_gpus_are_ignored_on_a_cpu() -> None:
    accelerators = {"gpu_execution_accelerator": [{"name": "tensorrt"}, {"name": "nonsense"}]}
    plain = settings({"cudnn_conv_algo_search": "9"}, optimization={"execution_accelerators": accelerators})
    assert plain == settings()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("openvino", "in NVIDIA's onnxruntime backend only"), ("dnnl", "unknown Execution Accelerator 'dnnl'")],
)
def test_accelerators_of_cpus_are_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(ModelConfigError, match=reason):
        settings(optimization={"execution_accelerators": {"cpu_execution_accelerator": [{"name": name}]}})
