"""Jobs for worker processes that go wrong, each in its own way: a process can only be told what it can import."""

from __future__ import annotations

import os
import time
from typing import Any

from tqdm import tqdm

from conch_tools.errors import BuildError


def slow(number: int) -> int:
    time.sleep(30)
    return number


def killed(number: int) -> None:
    os.kill(os.getpid(), number)


def greedy() -> int:
    return len(bytearray(1 << 50))


def explained() -> None:
    try:
        greedy()
    except MemoryError as problem:
        raise BuildError("stars", "it is no model that the library can load") from problem


def of_rust() -> None:
    raise RuntimeError("cannot write: No space left on device (os error 28)")


def of_a_library() -> None:
    raise RuntimeError("first line\nsecond line")


def with_progress() -> None:
    """As libraries show it, whether anybody looks or not."""
    list(tqdm(range(2), disable=True))
    raise BuildError("stars", "it shows how far it is, and ends")


def run(work: Any, argument: Any) -> Any:
    return work(argument)
