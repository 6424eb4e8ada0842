"""Triton's log becomes one sentence a model that did not load."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from conch_tools.server.failure import dead, how_it_ended, load_failures, unfinished

HEAD = "E1120 11:12:08.937 25884 model_lifecycle.cc:642]"
AT = r"\n\nAt:\n  /backends/mood/model.py(10): <module>\n  <frozen importlib._bootstrap>(241): _call\n"
BACKEND = Path("/backends/mood/model.py")


def backend_file(model: str, version: str) -> Path | None:
    return BACKEND if (model, version) == ("mood_labels", "1") else None


def failed(why: str, model: str = "mood_labels") -> str:
    return f"{HEAD} \"failed to load '{model}' version 1: {why}\""


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (
            r"Internal: ModuleNotFoundError: No module named 'no_such_thing'" + AT,
            "ModuleNotFoundError: No module named 'no_such_thing' (at /backends/mood/model.py, line 10: "
            "mend the code there)",
        ),
        (
            "Internal: SyntaxError: invalid syntax (model.py, line 32)",
            "SyntaxError: invalid syntax (in /backends/mood/model.py, line 32: mend the code there)",
        ),
        (
            "Internal: AttributeError: module 'model' has no attribute 'TritonPythonModel'",
            "AttributeError: module 'model' has no attribute 'TritonPythonModel' (in /backends/mood/model.py: "
            "mend the code there)",
        ),
        (r"Internal: ValueError: one\ntwo" + AT, "ValueError: one two (at /backends/mood/model.py, line 10: "
         "mend the code there)"),
        (rf"Internal: ValueError: no number\n\nAt:\n  {sysconfig.get_path('stdlib')}/json/decoder.py(355): raw_decode\n"
         r"  /backends/mood/model.py(10): initialize\n",
         "ValueError: no number (at /backends/mood/model.py, line 10: mend the code there)"),
        ("Internal: PermissionError: [Errno 13] Permission denied: '/r/labels.txt'" + AT,
         "Permission denied: '/r/labels.txt' (let this user read it)"),
        (r"Internal: ArtifactError: /r/labels.txt is missing: run `conch build`" + AT,
         "/r/labels.txt is missing: run `conch build`"),
        (r"Internal: ModelConfigError: parameter `activation` is 'relu', but must be softmax" + AT,
         "parameter `activation` is 'relu', but must be softmax"),
        ("Invalid argument: unable to find backend library for backend 'x'",
         "Invalid argument: unable to find backend library for backend 'x'"),
        ("Internal: failed to stat file /r/mood_labels/1 (/workspace/src/filesystem.cc:94)",
         "Internal: failed to stat file /r/mood_labels/1"),
        ("Not found: no version is available", "Not found: no version is available"),
    ],
)  # fmt: skip
def test_a_failed_load_is_one_sentence_with_the_place_of_the_fault(why: str, said: str) -> None:
    assert load_failures([failed(why)], backend_file) == [f"model `mood_labels`: {said}"]


def test_a_syntax_error_of_an_unknown_backend_is_told_as_it_is() -> None:
    why = "Internal: SyntaxError: invalid syntax (model.py, line 32)"
    assert load_failures([failed(why, "other")], backend_file) == [
        "model `other`: SyntaxError: invalid syntax (model.py, line 32)"
    ]


def test_a_configuration_that_triton_cannot_read_is_a_failed_load() -> None:
    line = "E1120 11:12 1 model_repository_manager.cc:1460] \"Poll failed for model directory 'mood': no platform\""
    assert load_failures([line], backend_file) == ["model `mood`: no platform"]


def test_the_first_report_of_each_model_counts_in_the_order_of_the_log() -> None:
    log = [failed("b is broken", "b"), failed("a is broken", "a"), failed("b again", "b"), "| b | 1 | UNAVAILABLE |"]
    assert load_failures(log, backend_file) == ["model `b`: b is broken", "model `a`: a is broken"]


def test_without_a_failed_load_the_first_error_of_weight_is_told() -> None:
    log = [
        'E1120 11:12:08.935380 25884 server.cc:241] "CudaDriverHelper has not been initialized."',
        'E1120 11:12:08.935390 25884 http_server.cc:99] "failed to start HTTP service"',
        'E1120 11:12:08.935400 25884 http_server.cc:99] "something later"',
    ]
    assert load_failures(log, backend_file) == ["failed to start HTTP service"]
    assert load_failures(log[:1], backend_file) == []


def test_models_are_unfinished_until_they_are_loaded_or_have_failed() -> None:
    log = [f'I1120 11:12 1 model_lifecycle.cc:472] "loading: {model}:{number}"' for number, model in enumerate("abc")]
    assert unfinished(log) == {"a": "0", "b": "1", "c": "2"}
    log += [failed("no", "a"), "I1120 11:12 1 model_lifecycle.cc:839] \"successfully loaded 'c'\""]
    assert unfinished(log) == {"b": "1"}


def test_an_exit_is_told_by_its_code_or_its_signal() -> None:
    assert how_it_ended(1) == "ended with exit code 1"
    assert how_it_ended(-9) == "was killed by SIGKILL"


def test_a_process_that_died_before_triton_knew_it_is_told_from_other_failures() -> None:
    why = "Internal: Stub process 'mood_labels_0' is not healthy."
    assert dead([failed(why), failed("Internal: SyntaxError: invalid syntax", "other")]) == {"mood_labels": "1"}
