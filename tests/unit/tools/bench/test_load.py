"""The closed loop: it counts what is answered in time, and names what is not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from conch_tools.bench.errors import ContenderFailed
from conch_tools.bench.load import ANSWERS_KEPT, Answer, closed_loop
from conch_tools.signals import Stopped, signals_raise_stopped

Address = tuple[str, int]
Serve = Callable[[Callable[[bytes], bytes]], Address]

SECONDS = 0.1
TIMEOUT_S = 5.0


def request(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-LENGTH: %d\r\nX-Kind:  plain \r\n\r\n%s" % (len(body), body)


def test_every_answer_belongs_to_its_own_request(serve: Serve) -> None:
    bodies = [b"one", b"two", b"three"]
    load = closed_loop(serve(ok), [request(body) for body in bodies], 2, 0.0, SECONDS, TIMEOUT_S)
    assert {answer.item for answer in load.kept} == {0, 1, 2}
    assert all(answer.body == bodies[answer.item] for answer in load.kept)
    assert load.seconds == SECONDS


def test_answers_are_counted_and_only_some_are_kept(serve: Serve) -> None:
    load = closed_loop(serve(ok), [request(b"x")], 4, 0.0, SECONDS, TIMEOUT_S)
    assert len(load.kept) == min(ANSWERS_KEPT, len(load.latencies_s))
    assert all(0 < latency < SECONDS for latency in load.latencies_s)
    assert load.generator_s > 0


def test_what_is_answered_during_the_warm_up_does_not_count(serve: Serve) -> None:
    asked: list[bytes] = []

    def respond(body: bytes) -> bytes:
        asked.append(body)
        return ok(body)

    load = closed_loop(serve(respond), [request(b"x")], 1, 0.1, 0.1, TIMEOUT_S)
    assert 0 < len(load.latencies_s) < len(asked)


def test_there_are_as_many_callers_as_the_concurrency(serve: Serve) -> None:
    connections: set[int] = set()

    def respond(body: bytes) -> bytes:
        connections.add(threading.get_ident())
        return ok(body)

    closed_loop(serve(respond), [request(b"x")], 3, 0.0, SECONDS, TIMEOUT_S)
    assert len(connections) == 3


def test_an_answer_in_pieces_is_one_answer(serve: Serve) -> None:
    body = b"a" * 200_000
    load = closed_loop(serve(lambda _: ok(body)), [request(b"x")], 2, 0.0, SECONDS, TIMEOUT_S)
    assert all(answer.body == body for answer in load.kept)


def test_a_status_other_than_200_is_named_with_what_the_server_said(serve: Serve) -> None:
    address = serve(lambda _: b"HTTP/1.1 503 Busy\r\nContent-Length: 8\r\n\r\nno room!")
    with pytest.raises(ContenderFailed, match="HTTP 503: no room!"):
        closed_loop(address, [request(b"x")], 4, 0.0, SECONDS, TIMEOUT_S)


def test_a_broken_connection_is_a_failure(serve: Serve) -> None:
    with pytest.raises(ContenderFailed, match="broke before the answer"):
        closed_loop(serve(lambda _: b""), [request(b"x")], 2, 0.0, SECONDS, TIMEOUT_S)


def test_an_answer_without_its_length_is_a_failure(serve: Serve) -> None:
    address = serve(lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    with pytest.raises(ContenderFailed, match="Content-Length"):
        closed_loop(address, [request(b"x")], 1, 0.0, SECONDS, TIMEOUT_S)


def test_a_server_that_does_not_answer_is_given_up(serve: Serve) -> None:
    with pytest.raises(ContenderFailed, match=r"unanswered for 0\.1 s"):
        closed_loop(serve(lambda _: b"HTTP/1.1 200 OK\r\n"), [request(b"x")], 1, 0.0, SECONDS, 0.1)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ContenderFailed, match=r"127\.0\.0\.1:1 cannot be reached"):
        closed_loop(("127.0.0.1", 1), [request(b"x")], 1, 0.0, SECONDS, TIMEOUT_S)


def test_headers_are_found_whatever_their_case() -> None:
    answer = Answer(0, ok(b"").partition(b"\r\n\r\n")[0], b"")
    assert answer.status == 200
    assert answer.header("x-KIND") == "plain"
    assert answer.header("absent") is None


def test_a_signal_ends_the_loop_wherever_it_is(serve: Serve) -> None:
    address, sent = serve(ok), threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped), signals_raise_stopped():
        sent.start()
        closed_loop(address, [request(b"x")], 8, 0.0, 60.0, TIMEOUT_S)
