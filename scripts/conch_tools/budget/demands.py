"""Those who want an evicted pipeline back, and wait for it: each for as long as they said, all for one load."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus

from conch_tools.healing.health import PipelineHealth
from conch_tools.healing.journal import Journal


@dataclass(frozen=True)
class Brought:
    """What came of a demand."""

    status: HTTPStatus
    """OK when the pipeline answers its golden requests, SERVICE_UNAVAILABLE when it does not yet, INSUFFICIENT_STORAGE
    when the budget never has room for it, NOT_FOUND when it is none."""
    problem: str = ""
    """A sentence, empty when the pipeline is there."""


class Demands:
    """Of one supervisor. Any thread may ask; the keeper of the server takes and settles."""

    def __init__(self, journal: Journal, longest_wait_s: float) -> None:
        self._journal = journal
        self._longest_wait_s = longest_wait_s
        self._lock = threading.Lock()
        self._waited_for: dict[str, Future[Brought]] = {}
        self._wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask(self, pipeline: str, wait_s: float) -> Brought:
        """Have it in memory; returns when it is, or when the time is over, which leaves it on its way."""
        began, wait_s = time.monotonic(), min(wait_s, self._longest_wait_s)
        with self._lock:
            coming = self._waited_for.get(pipeline)
            if coming is None:
                health = self._journal.health.of(pipeline)
                if health is None or not health.evicted:
                    return self._of_another(pipeline, health)
                coming = self._waited_for[pipeline] = Future()
                self._wanted.put(pipeline)
        try:
            brought = coming.result(wait_s)
        except TimeoutError:
            brought = Brought(HTTPStatus.SERVICE_UNAVAILABLE, f"it is still being loaded after {wait_s:g} s")
        self._journal.metrics.load_wait.observe(time.monotonic() - began)
        return brought

    def _of_another(self, pipeline: str, health: PipelineHealth | None) -> Brought:
        """What is said of a pipeline that is not evicted."""
        if health is None:
            there = ", ".join(self._journal.health.all()) or "none"
            return Brought(HTTPStatus.NOT_FOUND, f"there is no pipeline `{pipeline}`, but {there}")
        if health.well:
            return Brought(HTTPStatus.OK)
        return Brought(HTTPStatus.SERVICE_UNAVAILABLE, health.problem or "it was not asked yet")

    def take(self, timeout_s: float) -> str | None:
        """The next that is wanted; None when none is in that time, or `wake` was called."""
        with contextlib.suppress(queue.Empty):
            return self._wanted.get(timeout=timeout_s)
        return None

    def settle(self, pipeline: str, brought: Brought) -> None:
        """Tell all who wait for it."""
        with self._lock:
            self._waited_for.pop(pipeline).set_result(brought)

    def wake(self) -> None:
        """Let `take` return."""
        self._wanted.put(None)
