"""Notices that a Python step of the server died: Triton 2.51 does not, and never starts it again.

While it loads, Triton would wait for that step's answer for ever; afterwards every request to the model fails. A step
that died stays unreaped until its model is unloaded; one that Triton ended itself is reaped at once.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

DEAD_CHILD_S = 2.0
"""A child that ended is reaped at once; one that is not after this time has died."""
STUB_NAME = "triton_python_backend_stub"


@dataclass(frozen=True)
class Step:
    """A Python process of the server, by the model that it serves."""

    model: str
    version: str


class Children:
    """The processes that the server started itself: its Python steps."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._next_look = 0.0
        self._steps: dict[int, Step] = {}
        self._dead: set[int] = set()
        self._told: set[int] = set()

    def died(self) -> list[Step | None]:
        """The children found dead since the last call, each once; None for one that was never seen alive.

        Found dead is what was dead, and not reaped, at two looks in a row; a look is taken every DEAD_CHILD_S.
        """
        if time.monotonic() < self._next_look:
            return []
        self._next_look = time.monotonic() + DEAD_CHILD_S
        before, self._dead = self._dead, self._look()
        new = sorted((before & self._dead) - self._told)
        self._told.update(new)
        return [self._steps.get(pid) for pid in new]

    def _look(self) -> set[int]:
        """Learn what the living children serve, for a dead one has no command line; the ids of the dead."""
        dead = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.status() == psutil.STATUS_ZOMBIE:
                        dead.add(child.pid)
                    elif child.pid not in self._steps and (step := _step_of(child.cmdline())):
                        self._steps[child.pid] = step
        return dead


def _step_of(command: list[str]) -> Step | None:
    """What a stub serves: it is started with the path <repository>/<model>/<version>/<file>."""
    if len(command) < 2 or Path(command[0]).name != STUB_NAME:
        return None
    version = Path(command[1]).parent
    return Step(version.parent.name, version.name)
