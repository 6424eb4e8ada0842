"""One at a time: a lock in a file, which the kernel opens when the process that held it ends, however."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

POLL_S = 0.2


class Locked(Exception):
    """Somebody else held the lock for all the time that we waited. `holder` is their process id, as far as known."""

    def __init__(self, holder: int | None) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return "another process" if self.holder is None else f"process {self.holder}"


@contextlib.contextmanager
def only_one(lock: Path, patience_s: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock inside the block; `waiting` is called once when that takes waiting. Raises Locked when another
    process holds it for longer than `patience_s`, and OSError with the file's name, of a full disk say."""
    # Opened without emptying it: what stands there names the one that holds it.
    with lock.open("a+", encoding="ascii") as file:
        if not _locked(file):
            waiting()
            deadline = time.monotonic() + patience_s
            while not _locked(file):
                if time.monotonic() > deadline:
                    raise Locked(_holder(file))
                time.sleep(POLL_S)
        file.truncate(0)
        try:
            # Past the file's buffer, which would be written, and refused, once more when it is closed.
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, str(lock)) from problem
        yield


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock now; nobody holds one that is not there."""
    try:
        with lock.open("rb") as file:
            # Shared, so that those who only look do not see each other.
            return not _locked(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _locked(file: IO[str] | IO[bytes], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> int | None:
    file.seek(0)
    said = file.read().strip()
    return int(said) if said.isdecimal() else None
