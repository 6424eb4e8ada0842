"""What goes wrong in a worker process is told as what it is, with the job that it was at."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import failing_jobs
from conch_tools.build.workers import in_workers, ran_out_of_memory
from conch_tools.errors import BuildError
from failing_jobs import explained, greedy, killed, of_a_library, of_rust, run, slow


def said(work: Any, *arguments: Any) -> str:
    with pytest.raises(BuildError) as refused:
        list(in_workers(work, {"stars": arguments}))
    return str(refused.value)


@pytest.mark.parametrize(
    ("work", "arguments", "problem"),
    [
        (
            killed,
            (signal.SIGKILL,),
            r"its process was killed \(SIGKILL\), as the system does when memory runs out: close",
        ),
        (killed, (signal.SIGSEGV,), "its process ended by SIGSEGV: a library that loads or exports the source failed"),
        (greedy, (), "memory ran out: close what else uses it, allow a container more, or name one pipeline at a time"),
        (explained, (), "memory ran out: close what else uses it"),
        (of_rust, (), "No space left on device: make room there, or set CONCH_STATE and TMPDIR"),
        (of_a_library, (), r"RuntimeError: first line \(of_a_library, line \d+\)"),
    ],
)
def test_a_failure_is_one_line(work: Any, arguments: tuple[Any, ...], problem: str) -> None:
    assert re.search(f"^building `stars` failed: {problem}", told := said(work, *arguments)), told


def test_the_job_is_named_whose_worker_was_killed() -> None:
    jobs = {"moons": (slow, 1), "stars": (killed, signal.SIGKILL)}
    with pytest.raises(BuildError, match="building `stars` failed: its process was killed"):
        list(in_workers(run, jobs))


def test_a_job_that_shows_its_progress_and_fails_leaves_no_words_on_the_screen() -> None:
    code = (
        "from conch_tools.build.workers import in_workers\n"
        "from failing_jobs import with_progress\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        list(in_workers(with_progress, {'stars': ()}))\n"
        "    except Exception as problem:\n"
        "        print(problem)\n"
    )
    path = {"PYTHONPATH": str(Path(failing_jobs.__file__).parent)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("building `stars` failed: it shows how far it is, and ends\n", "")


@pytest.mark.parametrize(
    ("problem", "so"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (ImportError("libtorch_cpu.so: failed to map segment: Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (ValueError("a memory of summer"), False),
    ],
)
def test_a_want_of_memory_has_many_names(problem: Exception, so: bool) -> None:
    assert ran_out_of_memory(problem) is so
