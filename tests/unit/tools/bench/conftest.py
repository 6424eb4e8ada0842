"""A small HTTP server whose answers a test decides."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

Address = tuple[str, int]
Serve = Callable[[Callable[[bytes], bytes]], Address]
"""Start a server that answers each request's body with the bytes that the function gives; b"" ends the connection."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Servers that run until the test ends; each connection has a thread of its own."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(respond: Callable[[bytes], bytes]) -> Address:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                thread = threading.Thread(target=_converse, args=(connection, respond))
                threads.append(thread)
                thread.start()

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        host, port = listener.getsockname()
        return host, port

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5.0)
        assert not thread.is_alive()


def _converse(connection: socket.socket, respond: Callable[[bytes], bytes]) -> None:
    # A caller whose time is over drops its connection without a farewell.
    with connection, connection.makefile("rb") as stream, contextlib.suppress(ConnectionError):
        while line := stream.readline():
            length = 0
            while line != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
                line = stream.readline()
            answer = respond(stream.read(length))
            if not answer:
                return
            connection.sendall(answer)
