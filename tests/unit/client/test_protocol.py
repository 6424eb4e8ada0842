"""The questions and replies on a real gRPC connection to the fake Triton."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from conch_client import (
    Cancelled,
    DeadlineExceeded,
    Duration,
    InferenceFailed,
    ModelMetadata,
    ServerUnavailable,
    TensorMetadata,
)
from conch_client import _protocol as protocol
from conch_client._call import Call, Deadline
from conch_client._encode import WireTensor
from conch_client._protocol import Channel, Parameter

if TYPE_CHECKING:
    from tests.unit.client.conftest import FakeTriton

X = WireTensor("x", "FP32", (1, 2), np.array([1, 2], dtype=np.float32).tobytes())


def call_to(fake: FakeTriton, timeout_s: float = 10) -> Call:
    return Call(endpoint=fake.url, deadline=Deadline(timeout_s), model="double", request_id="r-1")


@pytest.fixture
def channel(fake: FakeTriton) -> Iterator[Channel]:
    channel = Channel(fake.url)
    yield channel
    channel.close()


def test_an_inference_carries_its_tensors_as_raw_bytes(fake: FakeTriton, channel: Channel) -> None:
    answer = channel.send(protocol.model_infer("double", "", "r-1", [X], {}), call_to(fake))
    assert (answer.model, answer.version, answer.request_id) == ("double", "1", "r-1")
    assert answer.tensors == [WireTensor("y", "FP32", (1, 2), np.array([2, 4], dtype=np.float32).tobytes())]
    (request,) = fake.requests
    assert list(request.raw_input_contents) == [X.data]
    assert not request.inputs[0].HasField("contents")


def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    fake: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    channel = Channel(fake.url)
    assert channel.send(protocol.server_live(), call_to(fake))
    channel.close()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (True, "bool_param"),
        (-1, "int64_param"),
        (2**63 - 1, "int64_param"),
        (2**64 - 1, "uint64_param"),
        (0.5, "double_param"),
        ("a", "string_param"),
    ],
)
def test_parameters_keep_their_type(fake: FakeTriton, channel: Channel, value: Parameter, field: str) -> None:
    channel.send(protocol.model_infer("double", "", "", [X], {"p": value}), call_to(fake))
    parameter = fake.requests[0].parameters["p"]
    assert parameter.WhichOneof("parameter_choice") == field
    assert getattr(parameter, field) == value


def test_metadata_is_typed(fake: FakeTriton, channel: Channel) -> None:
    assert channel.send(protocol.model_metadata("double", ""), call_to(fake)) == ModelMetadata(
        name="double",
        versions=("1",),
        platform="python",
        inputs=(TensorMetadata("x", "FP32", (-1, 2)),),
        outputs=(TensorMetadata("y", "FP32", (-1, 2)),),
    )


def test_a_configuration_is_plain_python_under_the_names_of_config_pbtxt(fake: FakeTriton, channel: Channel) -> None:
    assert channel.send(protocol.model_config("double", ""), call_to(fake)) == {
        "name": "double",
        "max_batch_size": 4,
        "input": [{"name": "x", "dims": [2]}],
        "instance_group": [{"count": 2, "kind": "KIND_CPU"}],
        "parameters": {"labels": {"string_value": "labels.txt"}},
    }


def test_statistics_are_typed(fake: FakeTriton, channel: Channel) -> None:
    (entry,) = channel.send(protocol.model_statistics("double", ""), call_to(fake))
    assert (entry.name, entry.version, entry.average_batch) == ("double", "1", 3.0)
    assert entry.queue == Duration(count=12, ns=3400)
    assert entry.cache_hit == Duration(count=0, ns=0)


def test_a_failure_is_ours_with_grpcs_own_as_its_cause(fake: FakeTriton, channel: Channel) -> None:
    fake.failure = ("INTERNAL", "boom")
    with pytest.raises(InferenceFailed, match="boom") as caught:
        channel.send(protocol.model_infer("double", "", "r-1", [X], {}), call_to(fake))
    assert type(caught.value.__cause__).__name__ == "_InactiveRpcError"
    assert caught.value.request_id == "r-1"


def test_a_call_ends_at_its_deadline_and_the_server_is_told(fake: FakeTriton, channel: Channel) -> None:
    fake.hang = True
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.2 s"):
        channel.send(protocol.model_infer("double", "", "", [X], {}), call_to(fake, 0.2))
    assert 0.2 <= time.monotonic() - started < 1
    assert fake.cancelled.wait(5)


def test_nothing_is_sent_after_the_deadline(fake: FakeTriton, channel: Channel) -> None:
    with pytest.raises(DeadlineExceeded):
        channel.send(protocol.server_live(), call_to(fake, 1e-9))
    assert fake.asked["ServerLive"] == 0


def test_nobody_at_the_address_is_said_at_once() -> None:
    with socket.socket() as taken:
        # Bound but not listening: the port is refused and cannot become another process's meanwhile.
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        channel = Channel(endpoint)
        with pytest.raises(ServerUnavailable, match=f"nothing answers gRPC at {endpoint}"):
            channel.send(protocol.server_live(), Call(endpoint=endpoint, deadline=Deadline(10)))
        channel.close()


def test_a_closed_channel_sends_nothing_and_says_so(fake: FakeTriton) -> None:
    channel = Channel(fake.url)
    channel.close()
    channel.close()
    with pytest.raises(Cancelled, match="the client is closed"):
        channel.send(protocol.server_live(), call_to(fake))


def test_a_reply_with_tensors_but_without_their_data_is_an_error_of_ours(fake: FakeTriton, channel: Channel) -> None:
    fake.forget_data = True
    with pytest.raises(InferenceFailed, match="the server's reply cannot be read"):
        channel.send(protocol.model_infer("double", "", "", [X], {}), call_to(fake))


def test_messages_may_be_larger_than_grpcs_usual_limit(fake: FakeTriton, channel: Channel) -> None:
    count = 2_000_000
    fake.models["double"].answer = lambda arrays: {"y": np.tile(arrays["x"], 2)}
    many = WireTensor("x", "FP32", (1, count), bytes(4 * count))
    answer = channel.send(protocol.model_infer("double", "", "", [many], {}), call_to(fake))
    assert len(answer.tensors[0].data) > 4 * count
