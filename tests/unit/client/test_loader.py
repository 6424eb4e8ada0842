"""A model that left the memory is asked for where the client was told to, and the call goes on once it is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from conch_client import Client, InvalidInput, ModelNotFound
from conch_tools.server.ports import free_ports

if TYPE_CHECKING:
    from tests.unit.client.conftest import FakeTriton


class Supervisor:
    """Lets `embed` leave the fake Triton, and brings it back when it is asked to."""

    def __init__(self, fake: FakeTriton) -> None:
        self._fake = fake
        self._gone = fake.models.pop("embed")
        self.asked: list[str] = []
        self.brings_back = True
        self.said = b""
        supervisor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                supervisor.asked.append(self.path)
                if supervisor.brings_back:
                    supervisor._fake.models["embed"] = supervisor._gone
                self.send_response(200 if supervisor.brings_back else 503)
                self.end_headers()
                self.wfile.write(supervisor.said)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def supervisor(fake: FakeTriton) -> Iterator[Supervisor]:
    supervisor = Supervisor(fake)
    thread = threading.Thread(target=supervisor.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield supervisor
    supervisor.server.shutdown()
    thread.join()
    supervisor.server.server_close()


def test_the_model_is_asked_for_once_and_the_call_answered(
    fake: FakeTriton, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(fake.url, timeout_s=5, loader=supervisor.address) as client:
        assert client.embed("abc").tolist() == [3, 1, 0]
        assert client.embed("ab").tolist() == [2, 1, 0]
    (asked,) = supervisor.asked
    path, _, seconds = asked.partition("?wait_s=")
    assert path == "/load/embed" and 4 < float(seconds) <= 5, "within the time of the call"
    waiting, there = (record.getMessage() for record in caplog.records)
    assert waiting == f"model `embed` is not loaded: waiting for {supervisor.address}, 5 s at most"
    assert there.startswith("model `embed` is there after ")


def test_a_version_that_is_missing_of_a_model_that_is_there_is_not_asked_for(
    fake: FakeTriton, supervisor: Supervisor
) -> None:
    with Client(fake.url, loader=supervisor.address) as client:
        client.embed("abc")
        supervisor.asked.clear()
        supervisor.brings_back = False
        with pytest.raises(ModelNotFound, match="there is no version 7 of embed, but 1"):
            client.infer("embed", 7, text="abc")
    assert [path.partition("?")[0] for path in supervisor.asked] == ["/load/embed-v7"], "as a release it may be"


def test_one_that_does_not_come_back_is_what_the_server_says_it_is(fake: FakeTriton, supervisor: Supervisor) -> None:
    supervisor.brings_back = False
    with Client(fake.url, loader=supervisor.address) as client, pytest.raises(ModelNotFound, match="unknown model"):
        client.embed("abc")
    with Client(fake.url) as plain, pytest.raises(ModelNotFound):
        plain.embed("abc")
    assert len(supervisor.asked) == 1, "a client without a loader asks for nothing"


@pytest.mark.parametrize("said", [b'{\n  "error": "there is\\nno room"\n}\n', b"there is\nno room"])
def test_why_one_does_not_come_back_is_told_in_a_line(
    fake: FakeTriton, supervisor: Supervisor, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    supervisor.brings_back, supervisor.said = False, said
    with Client(fake.url, loader=supervisor.address) as client, pytest.raises(ModelNotFound, match="unknown model"):
        client.embed("abc")
    assert caplog.records[-1].getMessage().endswith(" s: there is no room")


def test_a_loader_that_does_not_answer_changes_no_error(fake: FakeTriton, caplog: pytest.LogCaptureFixture) -> None:
    (nobody,) = free_ports(1)
    with Client(fake.url, loader=f"127.0.0.1:{nobody}") as client, pytest.raises(ModelNotFound, match="sun"):
        client.infer("sun", text="a")
    assert "does not answer" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("loader", ["", " ", 8003, "http://localhost:8003"])
def test_what_is_no_address_is_refused(loader: object) -> None:
    with pytest.raises(InvalidInput, match="give host:port"):
        Client(loader=loader)  # type: ignore[arg-type]
