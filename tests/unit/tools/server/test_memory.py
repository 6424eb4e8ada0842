"""The memory of a server is that of its whole family of processes."""

import os
import subprocess
import sys

from conch_tools.server.memory import GIB, Memory, memory_of

HUNDRED_MB_CHILD = "held = bytearray(100_000_000); print('ready', flush=True); input()"


def test_children_count_with_their_own_memory() -> None:
    alone = memory_of(os.getpid())
    child = subprocess.Popen(
        [sys.executable, "-c", HUNDRED_MB_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        together = memory_of(os.getpid())
    finally:
        child.communicate("\n", timeout=10)
    assert together.processes == alone.processes + 1
    assert 95_000_000 < together.bytes - alone.bytes < 200_000_000


def test_a_process_that_is_gone_takes_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(10)
    assert memory_of(process.pid) == Memory(0, 0)


def test_it_is_told_in_gibibytes() -> None:
    assert str(Memory(3 * GIB // 2, 7)) == "1.50 GiB in 7 processes"
