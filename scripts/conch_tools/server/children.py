"""Notices that a process of the loading server died: Triton 2.51 does not, and would wait for its answer for ever."""

from __future__ import annotations

import time

import psutil

DEAD_CHILD_S = 2.0
"""A child that ended is reaped at once; one that is not after this time will never be, and the load hangs."""


class Children:
    """The processes that the server started itself: its Python steps."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._next_look = time.monotonic() + DEAD_CHILD_S
        self._dead: set[int] = set()

    def one_is_dead(self) -> bool:
        """Whether a child has been dead, and not been reaped, since the look before this one."""
        if time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + DEAD_CHILD_S
        before, self._dead = self._dead, _zombies(self._pid)
        return bool(before & self._dead)


def _zombies(parent: int) -> set[int]:
    try:
        children = psutil.Process(parent).children()
    except psutil.NoSuchProcess:
        return set()
    return {child.pid for child in children if _is_zombie(child)}


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
