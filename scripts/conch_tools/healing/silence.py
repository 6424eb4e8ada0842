"""How long nothing has come of asking: of a pipeline that completes nothing, a server that nobody can reach, a process
that is stopped.

Once proves nothing; all of them count only when they last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from conch_tools.server.stubs import is_stopped

UNREACHABLE_FOR_S = 5.0
"""A server whose process lives but that answers nobody for so long is replaced."""
STOPPED_FOR_S = 2.0
Clock = Callable[[], float]


class Silences:
    """Of the pipelines of one server."""

    def __init__(self, busy_limit_s: float, clock: Clock = time.monotonic) -> None:
        self._busy_limit_s = busy_limit_s
        self._clock = clock
        self._since: dict[str, tuple[float, int]] = {}

    def is_stuck(self, pipeline: str, completed: int) -> bool:
        """Whether a pipeline that is silent now has completed nothing since it became so, for as long as it may work.

        `completed` counts what the ensemble itself answered. Its steps are no measure: those before the one that hangs
        go on, for golden requests and diagnosis keep them at work, and pipelines share models.
        """
        now = self._clock()
        since, before = self._since.setdefault(pipeline, (now, completed))
        if completed != before:
            self._since[pipeline] = (now, completed)
            return False
        return now - since >= self._busy_limit_s

    def ended(self, pipeline: str) -> None:
        """The pipeline has answered, or was repaired."""
        self._since.pop(pipeline, None)


class Reach:
    """Whether one server can be reached."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lost_since: float | None = None

    def lost(self) -> bool:
        """Nobody answered; whether that is so since UNREACHABLE_FOR_S and more."""
        now = self._clock()
        # Read once: another thread may have reached the server meanwhile.
        since = self._lost_since
        if since is None:
            self._lost_since = since = now
        return now - since >= UNREACHABLE_FOR_S

    def found(self) -> None:
        """Somebody answered."""
        self._lost_since = None


class Stops:
    """Of processes: those that somebody has stopped, by SIGSTOP say. One may be stopped for a moment; one that is for
    longer answers nobody."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}
        self._told: set[int] = set()

    def lasting(self, pids: Iterable[int]) -> set[int]:
        """Of these processes, those that have been stopped for STOPPED_FOR_S, each once a stop."""
        now = self._clock()
        self._since = {pid: self._since.get(pid, now) for pid in pids if is_stopped(pid)}
        lasting = {pid for pid, since in self._since.items() if now - since >= STOPPED_FOR_S}
        new, self._told = lasting - self._told, lasting
        return new
