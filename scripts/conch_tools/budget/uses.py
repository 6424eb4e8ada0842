"""When each pipeline was last used by somebody, which Triton does not tell: its statistics count golden requests too.

So what Triton has answered is compared with the golden requests that were answered meanwhile; what is more is use.
While a golden request is under way nobody knows whether it has been counted yet, so it is taken for counted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Uses:
    """Of the pipelines of one supervisor. Safe to use from several threads. Times are of `clock`, seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._golden: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._by_callers: dict[str, int] = {}
        """The most that callers can have been answered for certain, when that was last looked at."""
        self._last: dict[str, float] = {}

    @contextmanager
    def golden(self, pipeline: str, requests: int) -> Iterator[Callable[[int], None]]:
        """Around the sending of golden requests; what it gives is told how many were answered."""
        with self._lock:
            self._under_way[pipeline] += requests

        def answered(count: int) -> None:
            with self._lock:
                self._golden[pipeline] += count

        try:
            yield answered
        finally:
            with self._lock:
                self._under_way[pipeline] -= requests

    def look(self, pipeline: str, answered: Callable[[], int]) -> None:
        """Take down whether the pipeline was used since the last look; `answered` asks Triton how many requests it has
        answered since it was loaded."""
        with self._lock:
            # Before Triton is asked: one that ends meanwhile is taken for under way.
            may_be_golden = self._golden[pipeline] + self._under_way[pipeline]
            is_certain = not self._under_way[pipeline]
        answers = answered()
        with self._lock:
            is_certain = is_certain and self._golden[pipeline] + self._under_way[pipeline] == may_be_golden
            by_callers = answers - max(may_be_golden, self._golden[pipeline] + self._under_way[pipeline])
            known = self._by_callers.get(pipeline)
            if known is not None and by_callers > known:
                self._last[pipeline] = self._clock()
            if is_certain or (known is not None and by_callers > known):
                # Fewer than known were answered by a model that was loaded anew: it counts from nothing.
                self._by_callers[pipeline] = by_callers

    def begin(self, pipeline: str) -> None:
        """The pipeline was loaded, because somebody wants it now."""
        with self._lock:
            self._by_callers.pop(pipeline, None)
            self._last[pipeline] = self._clock()

    def last(self, pipeline: str) -> float:
        """When it was last used, or loaded. Of one that nothing is known of: now."""
        with self._lock:
            return self._last.setdefault(pipeline, self._clock())
