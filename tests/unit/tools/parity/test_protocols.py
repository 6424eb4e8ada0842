"""What a server does not answer, in the words of a comparison."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from conch_client import Client
from conch_tools.errors import NoAnswer, NoAnswerInTime
from conch_tools.parity.protocols import OverGrpc, OverHttp


@pytest.fixture
def silent_grpc() -> Iterator[str]:
    """The address of a server that takes a call and does not answer it."""
    released = threading.Event()
    waiting = grpc.unary_unary_rpc_method_handler(lambda request, context: released.wait(20))
    handlers = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelMetadata": waiting})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    released.set()
    server.stop(None).wait(20)


@pytest.fixture
def silent_http() -> Iterator[str]:
    """The address of a port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_over_grpc_a_wait_that_is_over_names_the_model(silent_grpc: str) -> None:
    with Client(silent_grpc, timeout_s=1) as client, pytest.raises(NoAnswerInTime, match="`double` does not answer"):
        OverGrpc(client).inputs("double")


def test_over_http_a_wait_that_is_over_names_the_model(silent_http: str) -> None:
    with OverHttp(silent_http, timeout_s=1) as ask, pytest.raises(NoAnswerInTime, match="`double` does not answer"):
        ask("double", {"x": np.zeros((1, 1), dtype=np.float32)})


def test_a_port_where_nobody_listens_is_no_answer() -> None:
    with Client("127.0.0.1:9", timeout_s=5) as client, pytest.raises(NoAnswer):
        OverGrpc(client).largest_batch("double")
    with OverHttp("127.0.0.1:9", timeout_s=5) as ask, pytest.raises(NoAnswer):
        ask.largest_batch("double")
