"""Streams: every part as it comes, an end in every case, and the model told when nobody listens any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conch_client import (
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    ServerUnavailable,
)
from conch_tools.server import EmbeddedServer

StartTriton = Callable[..., EmbeddedServer]
WaitUntil = Callable[..., None]

CONFIG = """
backend: "python"
max_batch_size: 0
input [{ name: "count" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "number" data_type: TYPE_INT32 dims: [1] }]
instance_group [{ count: 1 }]
model_transaction_policy { decoupled: true }
"""
MODEL = '''
import pathlib
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

HERE = pathlib.Path(__file__).parent


class TritonPythonModel:
    """Counts, a number every 50 ms; `fail` counts to the error, `apart` in a thread that execute does not wait for,
    `wait` lets the numbers after the first wait for a file."""

    def execute(self, requests):
        for request in requests:
            asked = pb_utils.get_input_tensor_by_name(request, "count").as_numpy()[0]
            counting = threading.Thread(target=self.count, args=(request, int(asked)))
            counting.start()
            if "apart" not in request.parameters():
                counting.join()

    def count(self, request, count):
        sender = request.get_response_sender()
        for number in range(count):
            if request.is_cancelled():
                (HERE / "cancelled").touch()
                break
            while number and "wait" in request.parameters() and not (HERE / "go").exists():
                time.sleep(0.01)
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("number", np.array([number], np.int32))]))
            time.sleep(0.05)
        if "fail" in request.parameters():
            error = pb_utils.TritonError("it cannot count further", pb_utils.TritonError.INVALID_ARG)
            sender.send(pb_utils.InferenceResponse([], error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        else:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
'''
ENDLESS = 10_000


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams") / "repository"
    (folder / "counter" / "1").mkdir(parents=True)
    (folder / "counter" / "config.pbtxt").write_text(CONFIG)
    (folder / "counter" / "1" / "model.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def server(start_triton: StartTriton, repository: Path) -> EmbeddedServer:
    return start_triton(repository)


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout_s=20) as client:
        yield client


@pytest.fixture
def doomed(start_triton: StartTriton, repository: Path) -> EmbeddedServer:
    """A server of the test's own, to be killed or robbed of its processes."""
    return start_triton(repository)


def test_parts_come_one_by_one_and_the_stream_ends(client: Client, repository: Path) -> None:
    stream = client.stream("counter", count=4, parameters={"wait": True})
    assert next(stream)["number"].tolist() == [0], "the first part does not wait for the last"
    (repository / "counter" / "1" / "go").touch()
    assert [part["number"].tolist() for part in stream] == [[1], [2], [3]]
    assert list(client.stream("counter", count=0)) == []


def test_what_does_not_fit_is_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidInput, match="count"):
        client.stream("counter", count="many")
    with pytest.raises(ModelNotFound):
        client.stream("counters", count=1)


def test_a_failing_model_ends_the_stream_with_its_error(client: Client) -> None:
    stream = client.stream("counter", count=2, parameters={"fail": True})
    assert [next(stream)["number"].tolist(), next(stream)["number"].tolist()] == [[0], [1]]
    with pytest.raises(InvalidInput, match="it cannot count further"):
        next(stream)


def test_a_stream_that_takes_too_long_ends_in_time(client: Client) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"0\.5 s"):
        list(client.stream("counter", count=ENDLESS, timeout_s=0.5, parameters={"apart": True}))
    assert time.monotonic() - began < 5


def test_leaving_a_stream_cancels_it_in_the_model(client: Client, repository: Path, wait_until: WaitUntil) -> None:
    with suppress(FileNotFoundError):
        (repository / "counter" / "1" / "cancelled").unlink()
    stream = client.stream("counter", count=ENDLESS, parameters={"apart": True})
    next(stream)
    stream.close()
    wait_until((repository / "counter" / "1" / "cancelled").exists, "the model knows that nobody listens")


def test_a_closed_client_ends_its_streams(server: EmbeddedServer) -> None:
    client = Client(server.grpc_url)
    stream = client.stream("counter", count=ENDLESS, parameters={"apart": True})
    next(stream)
    client.close()
    with pytest.raises(Cancelled):
        list(stream)


def test_a_stream_whose_process_is_killed_ends_with_a_typed_error(doomed: EmbeddedServer) -> None:
    with Client(doomed.grpc_url) as client:
        stream = client.stream("counter", count=ENDLESS)
        next(stream)
        began = time.monotonic()
        kill_steps_of(doomed)
        with pytest.raises(ModelNotReady, match="a Python process of the model died"):
            list(stream)
        assert time.monotonic() - began < 10


def test_a_stream_that_execute_did_not_wait_for_ends_with_its_time(doomed: EmbeddedServer) -> None:
    """Triton knows nothing of it once the process is dead."""
    with Client(doomed.grpc_url) as client:
        stream = client.stream("counter", count=ENDLESS, parameters={"apart": True}, timeout_s=4)
        for _ in range(10):
            next(stream)
        kill_steps_of(doomed)
        with pytest.raises(DeadlineExceeded):
            list(stream)


def test_a_stream_whose_server_is_killed_ends_with_a_typed_error(doomed: EmbeddedServer) -> None:
    with Client(doomed.grpc_url) as client:
        stream = client.stream("counter", count=ENDLESS)
        next(stream)
        psutil.Process(doomed.pid).kill()
        with pytest.raises(ServerUnavailable):
            list(stream)


def kill_steps_of(server: EmbeddedServer) -> None:
    for child in psutil.Process(server.pid).children():
        child.kill()
