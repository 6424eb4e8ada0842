"""A closed loop of HTTP/1.1 requests that costs little processor time: n callers, each sending when it is answered.

The generator shares the machine with the server it measures, so what it spends is taken from the figures. Requests are
bytes made beforehand, callers are callbacks of one event loop without tasks, and answers are only counted; some are
kept whole, to be checked once the clock has stopped.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

from conch_tools.bench.errors import ContenderFailed

HEAD_END = b"\r\n\r\n"
FAILURE_SHOWN = 300
ANSWERS_KEPT = 64
MAX_REQUESTS = 1_000_000
"""More than any server answers in a turn here; it bounds a turn against one that answers nonsense at once."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    item: int
    """Index of the request it answers."""
    head: bytes
    """Status line and header lines."""
    body: bytes

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return int(self.head.split(b" ", 2)[1])

    def header(self, name: str) -> str | None:
        """A header's value; names are compared without regard to case."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").lower() == name.lower():
                return value.decode("latin-1").strip()
        return None


@dataclass
class Load:
    """What a closed loop saw within its measured time."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    """Of every request answered within the measured time."""
    kept: list[Answer] = field(default_factory=list)
    """The first answers of the measured time."""
    generator_s: float = 0.0
    """Processor time that this process took meanwhile."""


def closed_loop(
    address: tuple[str, int],
    requests: Sequence[bytes],
    concurrency: int,
    warm_up_s: float,
    seconds: float,
    timeout_s: float,
) -> Load:
    """Send `requests` in a circle over `concurrency` connections, and count what is answered after the warm-up.

    Raises ContenderFailed when an answer is not 200, a connection breaks, or the last answers take over `timeout_s`.
    """
    turn = _Turn(requests, warm_up_s, seconds)
    where = f"{address[0]}:{address[1]}"
    until_s = warm_up_s + seconds + timeout_s
    try:
        # Signals reach the main thread only. Raised in a callback of the event loop, their exception would be lost.
        with ThreadPoolExecutor(max_workers=1) as thread:
            running = thread.submit(asyncio.run, asyncio.wait_for(turn.run(address, concurrency), until_s))
            try:
                running.result()
            finally:
                turn.end()
    except asyncio.TimeoutError as problem:
        raise ContenderFailed(f"{where} left requests unanswered for {timeout_s:g} s") from problem
    except OSError as problem:
        raise ContenderFailed(f"{where} cannot be reached: {problem}") from problem
    return turn.load


class _Turn:
    """What all callers of one closed loop share."""

    def __init__(self, requests: Sequence[bytes], warm_up_s: float, seconds: float) -> None:
        self._warm_up_s = warm_up_s
        self._requests = itertools.islice(itertools.cycle(enumerate(requests)), MAX_REQUESTS)
        self._starts = self._ends = 0.0
        self.load = Load(seconds)

    async def run(self, address: tuple[str, int], concurrency: int) -> None:
        loop = asyncio.get_running_loop()
        self._starts = time.perf_counter() + self._warm_up_s
        self._ends = self._starts + self.load.seconds
        clocks = [
            loop.call_later(self._warm_up_s, self._count_processor_time, -1),
            loop.call_later(self._warm_up_s + self.load.seconds, self._count_processor_time, 1),
        ]
        callers = [_Caller(self, loop.create_future()) for _ in range(concurrency)]
        try:
            for caller in callers:
                await loop.create_connection(lambda caller=caller: caller, *address)  # type: ignore[misc]
            await asyncio.gather(*(caller.ended for caller in callers))
        finally:
            for clock in clocks:
                clock.cancel()
            for caller in callers:
                caller.close()

    def end(self) -> None:
        """No request is sent any more."""
        self._ends = 0.0

    def next_request(self) -> tuple[int, bytes] | None:
        """What the next free caller sends; None when the time is over."""
        return next(self._requests, None) if time.perf_counter() < self._ends else None

    def answered(self, answer: Answer, sent_at: float) -> None:
        """Count an answer, if it came within the measured time."""
        now = time.perf_counter()
        if self._starts <= now < self._ends:
            self.load.latencies_s.append(now - sent_at)
            if len(self.load.kept) < ANSWERS_KEPT:
                self.load.kept.append(answer)

    def _count_processor_time(self, sign: int) -> None:
        self.load.generator_s += sign * time.process_time()


class _Caller(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, turn: _Turn, ended: asyncio.Future[None]) -> None:
        self.ended = ended
        self._turn = turn
        self._received = bytearray()
        self._expected: int | None = None
        self._body_at = self._item = 0
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._expected is None:
            self._read_head()
        if self._transport and self._expected is not None and len(self._received) >= self._expected:
            self._answered(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection broke before the answer{f': {exc}' if exc else ''}")

    def close(self) -> None:
        """Drop the connection, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, transport: asyncio.Transport) -> None:
        request = self._turn.next_request()
        if request is None:
            self._end()
            return
        self._item, wire = request
        self._sent_at = time.perf_counter()
        transport.write(wire)

    def _read_head(self) -> None:
        end = self._received.find(HEAD_END)
        if end < 0:
            return
        self._body_at = end + len(HEAD_END)
        length = Answer(self._item, bytes(self._received[:end]), b"").header("content-length")
        if length is None:
            self._end("an answer without Content-Length cannot be counted")
            return
        self._expected = self._body_at + int(length)

    def _answered(self, transport: asyncio.Transport) -> None:
        head = bytes(self._received[: self._body_at - len(HEAD_END)])
        answer = Answer(self._item, head, bytes(self._received[self._body_at :]))
        self._received.clear()
        self._expected = None
        if answer.status != 200:
            self._end(f"HTTP {answer.status}: {answer.body[:FAILURE_SHOWN].decode(errors='replace')}")
            return
        self._turn.answered(answer, self._sent_at)
        self._send(transport)

    def _end(self, problem: str | None = None) -> None:
        if self.ended.done():
            return
        if problem is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(ContenderFailed(problem))
