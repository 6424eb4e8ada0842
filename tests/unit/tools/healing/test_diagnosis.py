"""Silence is no proof of death: a model is called hung only when it does not work either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from conch_client import ConchError as ClientError
from conch_client import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelMetadata,
    ModelNotFound,
    ModelNotReady,
    ServerUnavailable,
    TensorMetadata,
)
from conch_tools.healing.diagnosis import hung, smallest_request
from conch_tools.healing.golden import Symptom, symptom_of
from conch_tools.healing.repair import steps_of
from conch_tools.server.stubs import Stub, cpu_seconds

Start = Callable[[str, str], Stub]

IDLE = "import time; print('up', flush=True); time.sleep(60)"
BUSY = "print('up', flush=True)\nwhile True: pass"
ASKED_FOR_S = 0.5


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that stands for a model's stub and runs this code."""
    started = []

    def begin(model: str, code: str) -> Stub:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        return Stub(process.pid, model, "1")

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def judged(*stubs: Stub) -> list[str]:
    before = cpu_seconds(stubs)
    # What passes here is the time in which the models were asked.
    with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({ASKED_FOR_S})"]) as asking:
        asking.wait()
    return hung([stub.model for stub in stubs], stubs, before, ASKED_FOR_S)


def test_a_silent_model_that_is_at_work_is_busy(start: Start) -> None:
    assert judged(start("embed", BUSY)) == []


def test_a_silent_model_that_does_nothing_hangs(start: Start) -> None:
    assert judged(start("embed", IDLE)) == ["embed"]


def test_one_that_waits_for_a_busy_one_does_not_hang(start: Start) -> None:
    assert judged(start("search", IDLE), start("embed", BUSY)) == []


def test_a_stopped_process_explains_the_silence_of_those_that_wait_for_it(start: Start) -> None:
    waiting, stopped = start("search", IDLE), start("embed", IDLE)
    os.kill(stopped.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
    assert judged(waiting, stopped) == ["embed"]


@pytest.mark.parametrize(
    ("problem", "symptom"),
    [
        (DeadlineExceeded("late"), Symptom.SILENT),
        (ModelNotReady("a Python process died (Stub process 'm_0' is not healthy.)"), Symptom.DEAD),
        (ModelNotReady("it is loading"), Symptom.ABSENT),
        (ModelNotFound("unknown model"), Symptom.ABSENT),
        (ServerUnavailable("nobody"), Symptom.UNREACHABLE),
        (ServerUnavailable("the model's queue is full: try again later"), Symptom.SILENT),
        (ServerUnavailable("the server cannot serve now (Model 'embed' is not ready.)"), Symptom.ABSENT),
        (InferenceFailed("it failed"), Symptom.FAILING),
        (InvalidInput("no"), Symptom.FAILING),
    ],
)
def test_an_error_says_what_is_wrong_with_the_model(problem: ClientError, symptom: Symptom) -> None:
    assert symptom_of(problem) is symptom


def test_the_smallest_request_is_one_item_of_every_input() -> None:
    tensors = (
        TensorMetadata("text", "BYTES", (-1, 1)),
        TensorMetadata("ids", "INT32", (-1, -1)),
        TensorMetadata("half", "BF16", (2,)),
        TensorMetadata("flag", "BOOL", (-1, 1)),
    )
    request = smallest_request(ModelMetadata("m", ("1",), "", tensors, ()))
    assert request["text"].tolist() == [[b""]]
    assert request["ids"].dtype == np.int32 and request["ids"].shape == (1, 1)
    assert request["half"].dtype == np.float32 and request["half"].shape == (2,)
    assert request["flag"].tolist() == [[False]]


def test_the_steps_of_an_ensemble_are_read_from_its_configuration() -> None:
    assert steps_of({"ensemble_scheduling": {"step": [{"model_name": "a"}, {"model_name": "b"}]}}) == ["a", "b"]
    assert steps_of({"name": "a"}) == []
