"""The Python processes of a running server, by model, and word of their death at once.

Triton 2.51 does not notice that a stub died. While it loads, it waits for that stub for ever; afterwards health stays
200, requests to its model fail, and nothing starts it again. The kernel tells through a pidfd the moment a process
ends. One that Triton ended itself (a model was unloaded, loaded anew, or completed) exits with 0 and is reaped by
Triton, at once where the machine is not busy; one that stays unreaped for a moment has died on its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

STUB_NAME = "triton_python_backend_stub"
REAPED_WITHIN_S = 0.2
SOUND_END_REAPED_WITHIN_S = 5.0
"""After an exit with 0, as Triton's own ends are: with many models to load on a busy machine it comes late to them."""
LOOK_EVERY_S = 1.0
"""For stubs that are new since models were loaded."""


@dataclass(frozen=True)
class Stub:
    """A Python process of the server."""

    pid: int
    model: str
    """The model that it serves, and its version; both empty of one that died before it was known."""
    version: str


class Stubs:
    """Watches the stubs of one server. One thread waits and looks, any may read; `close()` it in the end."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._known: dict[int, Stub] = {}
        """By pidfd."""
        self._ends = select.poll()
        self._next_look = 0.0
        self._suspects: dict[int, float] = {}
        """Pidfds of stubs that ended, with the time until which Triton may reap them."""
        self._strangers: dict[int, bool] = {}
        """Ids of processes that were dead when first seen; whether they have been told."""

    def close(self) -> None:
        """Let go of the processes; they run on."""
        for descriptor in list(self._known):
            self._forget(descriptor)

    def of(self, models: Collection[str]) -> list[Stub]:
        """The known stubs of these models; the end of some may not have been told yet."""
        return [stub for stub in list(self._known.values()) if stub.model in models]

    @property
    def all(self) -> list[Stub]:
        """Every known stub."""
        return list(self._known.values())

    def wait(self, timeout_s: float) -> list[Stub]:
        """The stubs that died on their own since the last call, each once; returns early when there is one."""
        deadline = time.monotonic() + timeout_s
        while True:
            died = self.look() if time.monotonic() >= self._next_look else []
            until = min(deadline, self._next_look, *self._suspects.values())
            for descriptor, _ in self._ends.poll(0 if died else max(0.0, until - time.monotonic()) * 1e3):
                self._ends.unregister(descriptor)
                within = SOUND_END_REAPED_WITHIN_S if _ended_soundly(self._known[descriptor].pid) else REAPED_WITHIN_S
                self._suspects[descriptor] = time.monotonic() + within
            died += self._judged()
            if died or time.monotonic() >= deadline:
                return died

    def look(self) -> list[Stub]:
        """Learn of stubs that are new; those that died before they could be known, and are unreaped since the look
        before."""
        self._next_look = time.monotonic() + LOOK_EVERY_S
        known = {stub.pid for stub in self._known.values()}
        died, strangers = [], {}
        for child in _children(self._server):
            # Gone meanwhile: it has nobody to tell of its end, and nothing of it is known to wait for.
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if child.pid in known:
                    continue
                if child.status() == psutil.STATUS_ZOMBIE:
                    told = self._strangers.get(child.pid)
                    strangers[child.pid] = told is not None
                    died += [Stub(child.pid, "", "")] if told is False else []
                elif stub := _stub_of(child):
                    descriptor = os.pidfd_open(stub.pid)
                    self._known[descriptor] = stub
                    self._ends.register(descriptor, select.POLLIN)
        self._strangers = strangers
        return died

    def _judged(self) -> list[Stub]:
        """Suspects whose time is over; those still there died on their own."""
        due = [descriptor for descriptor, until in self._suspects.items() if time.monotonic() >= until]
        stubs = [self._known[descriptor] for descriptor in due]
        for descriptor in due:
            self._forget(descriptor)
        died = [stub for stub in stubs if _is_unreaped(stub.pid, self._server)]
        # It stays unreaped until its model is unloaded, and is no stranger then.
        self._strangers.update((stub.pid, True) for stub in died)
        return died

    def _forget(self, descriptor: int) -> None:
        del self._known[descriptor]
        self._suspects.pop(descriptor, None)
        with contextlib.suppress(KeyError):
            self._ends.unregister(descriptor)
        os.close(descriptor)


def cpu_seconds(stubs: Iterable[Stub]) -> dict[Stub, float]:
    """Processor time that each has used so far; none for those that are gone."""
    used = {}
    for stub in stubs:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(stub.pid).cpu_times()
            used[stub] = times.user + times.system
    return used


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped the process, by SIGSTOP say."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _children(server: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(server).children())
    except psutil.NoSuchProcess:
        return []


def _stub_of(process: psutil.Process) -> Stub | None:
    """A stub is started with the path <repository>/<model>/<version>/<file>; one that was forked just now still has its
    parent's command line."""
    command = process.cmdline()
    if len(command) < 2 or Path(command[0]).name != STUB_NAME:
        return None
    version = Path(command[1]).parent
    return Stub(process.pid, version.parent.name, version.name)


def _ended_soundly(pid: int) -> bool:
    """Whether an unreaped process exited with 0; proc(5) has the status as the last field of its stat."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").split()[-1]
        return status == "0"
    return False


def _is_unreaped(pid: int, parent: int) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.ppid() == parent)
    except psutil.NoSuchProcess:
        return False
