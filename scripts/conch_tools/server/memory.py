"""How much memory a server and its Python steps take together.

Every step is a process of its own and they share libraries and memory-mapped files, so their resident sizes would count
the same pages many times. The kernel's proportional set size divides each page among those who share it: the sum over
the processes is what the machine really gives.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psutil

GIB = 1 << 30


@dataclass(frozen=True)
class Memory:
    """The memory of a process and all its descendants."""

    bytes: int
    processes: int

    def __str__(self) -> str:
        return f"{self.bytes / GIB:.2f} GiB in {self.processes} processes"


def memory_of(pid: int) -> Memory:
    """The proportional set sizes of process `pid` and its descendants, added up; one that ends now is left out."""
    sizes: list[int] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                sizes.append(int(process.memory_full_info().pss))
    return Memory(sum(sizes), len(sizes))
