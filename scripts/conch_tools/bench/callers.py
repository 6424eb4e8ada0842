"""Callers that ask without a pause and ask again what may be asked again, and what they saw of an outage.

Unlike the closed loop of `load`, which stops at the first error, these count errors: a request that was refused with an
error that may be tried again is sent again after a short pause until it is answered.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from conch_client import Client, ConchError, ModelNotFound, ServerUnavailable

Ask = Callable[[Client], object]
"""Sends one request; returns when it is answered, raises ConchError when it is not."""

RETRYABLE = (ServerUnavailable, ModelNotFound)
"""Errors after which a caller of a model that there was asks again: an ensemble that is being restored is unknown for a
moment."""
RETRY_PAUSE_S = 0.05
RETRIED_FOR_S = 60.0
"""A request that is refused for so long has failed although it was tried again."""
ANSWER_LIMIT_S = 30.0
"""Of one attempt."""
SETTLED_S = 2.0
"""The time around an outage whose latencies are compared."""


@dataclass(frozen=True)
class Attempt:
    """One sending of a request. Times are of the monotonic clock, seconds."""

    caller: int
    began: float
    ended: float
    problem: str | None = None
    """Why it was not answered."""


@dataclass
class Seen:
    """What all callers saw, safe to read once they have ended."""

    concurrency: int
    attempts: list[Attempt] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Why requests failed that could not be tried again, or that were for RETRIED_FOR_S in vain."""

    @property
    def sent(self) -> int:
        """Attempts that were answered or refused."""
        return len(self.attempts)

    @property
    def refused(self) -> list[Attempt]:
        """Attempts that failed: what callers would see who try nothing again."""
        return [each for each in self.attempts if each.problem is not None]

    def full_service(self, since: float) -> float | None:
        """When the outage that began at `since` was over for every caller: each had been answered what it asked after
        it began, and nobody was refused any more. None when somebody was never answered."""
        first: dict[int, float] = {}
        for each in sorted(self.attempts, key=lambda attempt: attempt.ended):
            if each.problem is None and each.began >= since:
                first.setdefault(each.caller, each.ended)
        if len(first) < self.concurrency:
            return None
        return max([*first.values(), *(each.ended for each in self.refused if each.ended >= since)])

    def median_latency_s(self, since: float, until: float) -> float | None:
        """Of what was answered in a span of time; None when nothing was."""
        took = [
            each.ended - each.began for each in self.attempts if each.problem is None and since <= each.began < until
        ]
        return statistics.median(took) if took else None


class Callers:
    """Callers in threads of their own, each with a connection of its own; they share out `asks` among them.

    A context manager: they ask as long as the block lasts, and what they saw is complete after it.
    """

    def __init__(self, address: str, asks: Sequence[Ask], concurrency: int) -> None:
        self.seen = Seen(concurrency)
        self._address = address
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(number, ask), name=f"caller-{number}")
            for number, ask in zip(range(concurrency), itertools.cycle(asks), strict=False)
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int, ask: Ask) -> None:
        with Client(self._address, timeout_s=ANSWER_LIMIT_S) as client:
            while not self._ending.is_set():
                self._until_answered(number, ask, client)

    def _until_answered(self, number: int, ask: Ask, client: Client) -> None:
        gives_up = time.monotonic() + RETRIED_FOR_S
        while True:
            began = time.monotonic()
            try:
                ask(client)
            except ConchError as problem:
                self._note(Attempt(number, began, time.monotonic(), str(problem)))
                if not isinstance(problem, RETRYABLE) or time.monotonic() >= gives_up:
                    self.seen.lost.append(str(problem))
                    return
                time.sleep(RETRY_PAUSE_S)
            else:
                self._note(Attempt(number, began, time.monotonic()))
                return

    def _note(self, attempt: Attempt) -> None:
        # Appending to a list is atomic.
        self.seen.attempts.append(attempt)
