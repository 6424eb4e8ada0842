"""Rules about the backend of a model, and how it is inferred where config.pbtxt does not name it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from conch_tools.check import Finding, check_repository
from conch_tools.check.backends import Backend, resolve

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

TENSORS = """
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
GRAPHDEF = Backend("tensorflow", "tensorflow_graphdef", "model.graphdef")


def config_of(text: str, *files: str) -> dict[str, str]:
    return {"m/config.pbtxt": text + TENSORS, "m/1/": "", **{f"m/{file}": "" for file in files}}


@pytest.mark.parametrize(
    ("text", "files", "backend"),
    [
        ('backend: "echo"', [], Backend("echo", "", "")),
        ('platform: "ensemble"', ["model.onnx"], Backend("", "ensemble", "")),
        ('backend: "onnxruntime"', [], Backend("onnxruntime", "onnxruntime_onnx", "model.onnx")),
        ('platform: "tensorrt_plan"', [], Backend("tensorrt", "tensorrt_plan", "model.plan")),
        ('default_model_filename: "model.py"', [], Backend("python", "", "model.py")),
        ("", ["model.onnx"], Backend("onnxruntime", "onnxruntime_onnx", "model.onnx")),
        ("", ["model.pt", "model.plan"], Backend("tensorrt", "tensorrt_plan", "model.plan")),
        ("", ["model.savedmodel"], Backend("tensorflow", "tensorflow_savedmodel", "model.savedmodel")),
        ('backend: "tensorflow"', ["model.graphdef"], GRAPHDEF),
        ('backend: "tensorflow"', [], Backend("tensorflow", "", "")),
        ("", ["weights.bin"], Backend("", "", "")),
    ],
)
def test_core_completes_the_backend_from_platform_file_name_and_files(
    text: str, files: list[str], backend: Backend
) -> None:
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert resolve("m", config, files) == backend


def test_a_dot_in_the_name_gives_the_backend_when_nothing_else_does() -> None:
    empty = model_config_pb2.ModelConfig()
    assert resolve("model.echo", empty, []) == Backend("echo", "", "model.echo")
    assert resolve("model.echo", empty, ["model.py"]).name == "python"


def test_a_backend_from_the_folder_or_from_triton_is_sound(check: Check) -> None:
    assert check(config_of('backend: "echo"')) == []
    assert check(config_of('backend: "fil"')) == []
    assert check(config_of("", "1/model.py")) == []


def test_a_library_beside_the_model_is_a_backend(check: Check) -> None:
    assert check(config_of('backend: "mine"', "1/libtriton_mine.so")) == []
    assert check(config_of('backend: "ours"', "libtriton_ours.so")) == []


def test_a_model_that_nothing_tells_the_backend_of_is_refused(check: Check) -> None:
    [finding] = check(config_of(""))
    assert (finding.code, finding.line) == ("BAK001", 1)
    assert "`model.onnx`" in finding.cure


def test_a_misspelt_platform_is_offered_the_right_one(check: Check) -> None:
    [finding] = check(config_of('platform: "onnxruntime_onx"'))
    assert (finding.code, finding.line, finding.cure) == ("BAK001", 1, "did you mean `onnxruntime_onnx`?")


@pytest.mark.parametrize(
    ("backend", "cure"),
    [
        ("ecko", "did you mean `echo`?"),
        ("onnxruntim", "did you mean `onnxruntime`?"),
        ("hollow", "add model.py or libtriton_hollow.so"),
        ("zzz", "add the folder `zzz`"),
    ],
)
def test_a_backend_that_is_not_there_is_refused(check: Check, backend: str, cure: str) -> None:
    [finding] = check(config_of(f'\nbackend: "{backend}"'))
    assert (finding.code, finding.line) == ("BAK002", 2)
    assert cure in finding.cure


def test_without_backend_folders_only_a_likely_misspelling_is_told(check: Check, repository: Path) -> None:
    check({**config_of('backend: "onnxruntim"')})
    [finding] = check_repository(repository)
    assert (finding.code, finding.cure[:27]) == ("BAK003", "did you mean `onnxruntime`?")
    check({**config_of('backend: "zzz"')})
    assert check_repository(repository) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [('backend: "tensorrt"\nplatform: "onnxruntime_onnx"', 2), ('backend: "tensorflow"', 1)],
)
def test_platform_and_backend_must_go_together(check: Check, text: str, line: int) -> None:
    [finding] = check(config_of(text, "1/model.plan"))
    assert (finding.code, finding.line) == ("BAK004", line)


def test_a_backend_of_ones_own_goes_with_any_platform(check: Check) -> None:
    assert check(config_of('backend: "echo" platform: "anything"')) == []


def test_a_dot_in_the_name_is_told_where_no_backend_is_given(check: Check) -> None:
    config = "input { name: 'x' data_type: TYPE_FP32 dims: 4 } output { name: 'y' data_type: TYPE_FP32 dims: 4 }"
    [finding] = check({"yolo.v5/config.pbtxt": config, "yolo.v5/1/": ""})
    assert (finding.code, finding.what) == ("BAK002", "backend `v5` is not there")
    assert finding.cure.startswith('write `backend: "..."`: without one, Triton takes what follows the dot')


PARAMETER = 'backend: "python" parameters { key: "%s" value { string_value: "%s" } }'


@pytest.mark.parametrize(
    ("text", "code", "what"),
    [
        ('backend: "echo" runtime: "libtriton_echo.so"', "BAK006", "runtime `libtriton_echo.so` of backend `echo`"),
        ('backend: "python" runtime: "model.py"', "BAK006", "runtime `model.py` of backend `python` is not there"),
        (
            'backend: "echo" model_repository_agents { agents { name: "checksum" } }',
            "BAK007",
            "model_repository_agents `checksum`, and the embedded server has none",
        ),
        ('backend: "echo" model_repository_agents { }', "BAK007", "model_repository_agents without any agent"),
        (PARAMETER % ("FORCE_CPU_ONLY_INPUT_TENSORS", "true"), "BAK008", "FORCE_CPU_ONLY_INPUT_TENSORS is `true`"),
        (PARAMETER % ("EXECUTION_ENV_PATH", "/no.tar.gz"), "BAK008", "EXECUTION_ENV_PATH `/no.tar.gz` is not there"),
    ],
)
def test_what_the_backend_cannot_have_is_an_error(check: Check, text: str, code: str, what: str) -> None:
    (finding,) = check(config_of(text, "1/model.py"))
    assert (finding.code, finding.line) == (code, 1)
    assert finding.what.startswith(what)


def test_what_a_backend_of_the_container_runs_is_unknown(check: Check) -> None:
    assert check(config_of('backend: "pytorch" runtime: "model.py"', "1/model.py")) == []


def test_an_environment_may_lie_in_the_models_folder(check: Check) -> None:
    text = PARAMETER % ("EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/env.tar.gz")
    assert check(config_of(text, "1/model.py", "env.tar.gz")) == []


def test_a_backend_of_the_container_has_no_place_in_a_pipeline(check: Check) -> None:
    files = config_of('backend: "openvino"', "1/model.xml")
    assert check(files) == []
    (finding,) = (each for each in check({**files, "m/pipeline.toml": ""}) if each.code == "BAK005")
    assert finding.what == "backend `openvino` is not in the embedded server"
