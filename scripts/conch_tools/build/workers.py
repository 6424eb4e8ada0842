"""Worker processes for what needs torch: its exporter holds the interpreter, and its memory should go with the work.

What a job gives comes back in a file. Through the pool's pipe, a worker that is killed while it writes would leave half
of it, and the pool would wait for the other half for ever.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import re
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from conch_tools.errors import BuildError, ConchError, first_line, with_cure
from conch_tools.lifeline import die_with_parent

Result = TypeVar("Result")
Started = tuple[int, str]
"""The process id of a worker and the job that it begins."""

WORKERS = 2
MORE_MEMORY = "close what else uses it, allow a container more, or name one pipeline at a time"
NO_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory")
"""What libraries of C++ say, whose exceptions have no class for it."""
ALONE = {
    # Two workers have two processors.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # What is imported says nothing on the screen.
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
"""Said by environment, before anything is imported: not every job needs torch, whose import takes two seconds."""
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries of Rust tell the system's number; their exceptions have no class for it either."""

_started: SimpleQueue[Started] | None = None
"""Of a worker: where it says which job it begins."""


def in_workers(work: Callable[..., Result], jobs: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Result]]:
    """`work(*arguments)` of every named job, side by side: (name, result) as they are done.

    Raises what a job raises, as BuildError unless it is one of our own errors; all other jobs are ended then, and also
    when the caller stops asking.
    """
    context = multiprocessing.get_context("spawn")
    started: SimpleQueue[Started] = context.SimpleQueue()
    workers = ProcessPoolExecutor(
        min(WORKERS, len(jobs)), mp_context=context, initializer=_begin, initargs=(os.getpid(), started)
    )
    others, processes = multiprocessing.active_children(), list[BaseProcess]()
    # Named so that what a killed process leaves is swept.
    folder = tempfile.TemporaryDirectory(prefix=f"conch-{os.getpid()}-jobs-")
    try:
        with _interrupts_held_back():
            outcomes = {name: Path(folder.name, str(number)) for number, name in enumerate(jobs)}
            waiting = {
                workers.submit(_done, outcomes[name], name, work, arguments): name for name, arguments in jobs.items()
            }
            processes += [each for each in multiprocessing.active_children() if each not in others]
            # The pool looks for dead workers among those that there were when it was last given a job.
            workers.submit(int)
        for done in as_completed(waiting):
            try:
                done.result()
            except BrokenProcessPool as problem:
                # The pool ends the others, and waits for all of them.
                workers.shutdown()
                raise _killed(processes, started, waiting[done]) from problem
            result, refusal = pickle.loads(outcomes[waiting[done]].read_bytes())
            if refusal is not None:
                raise refusal
            yield waiting[done], result
    except BaseException:
        for worker in processes:
            worker.kill()
        raise
    finally:
        workers.shutdown(wait=True, cancel_futures=True)
        folder.cleanup()


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, which a terminal sends to all: they would print their stack traces.
    One that comes for us comes a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _killed(processes: list[BaseProcess], started: SimpleQueue[Started], waiting: str) -> BuildError:
    """Which worker ended by itself, how, and what it was at; the pool has ended the others by then."""
    jobs: dict[int | None, str] = {}
    while not started.empty():
        worker, job = started.get()
        jobs[worker] = job
    first = next((each for each in processes if each.exitcode not in (0, None, -signal.SIGTERM)), None)
    if first is None or first.exitcode is None:
        return BuildError(waiting, "its process ended without a word")
    name = jobs.get(first.pid, waiting)
    if first.exitcode == -signal.SIGKILL:
        return BuildError(
            name, f"its process was killed (SIGKILL), as the system does when memory runs out: {MORE_MEMORY}"
        )
    how = signal.Signals(-first.exitcode).name if first.exitcode < 0 else f"exit code {first.exitcode}"
    return BuildError(name, f"its process ended by {how}: a library that loads or exports the source failed in it")


def _begin(parent: int, started: SimpleQueue[Started]) -> None:
    """A command that is killed takes its workers along."""
    global _started
    die_with_parent()
    if os.getppid() != parent:
        # It was killed before we asked to be told.
        os._exit(1)
    _started = started
    os.environ.update(ALONE)
    # Its own lock is one for several processes, of which Python says on the screen that a killed one leaked it.
    tqdm.set_lock(threading.RLock())


def _done(outcome: Path, name: str, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Leave the job's result, or the error that it ends with, in a file."""
    if _started is not None:
        _started.put((os.getpid(), name))
    try:
        content = pickle.dumps((work(*arguments), None))
    except Exception as problem:
        content = pickle.dumps((None, _refusal(name, problem)))
    outcome.write_bytes(content)


def _refusal(name: str, problem: Exception) -> ConchError:
    """Whatever a library raises is put into words here, once for all jobs."""
    # Also behind an error of our own: what a library cannot load for want of memory, it calls unreadable.
    if ran_out_of_memory(problem):
        return BuildError(name, f"memory ran out: {MORE_MEMORY}")
    return problem if isinstance(problem, ConchError) else BuildError(name, _in_a_sentence(problem))


def _in_a_sentence(problem: Exception) -> str:
    if isinstance(problem, OSError):
        return with_cure(problem)
    if number := OS_ERROR.search(str(problem)):
        return with_cure(OSError(int(number[1]), os.strerror(int(number[1]))))
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__}: {first_line(problem)} ({last.name}, line {last.lineno})"


def ran_out_of_memory(problem: BaseException | None) -> bool:
    """Whether that is what an exception, or one that led to it, is about."""
    while problem is not None:
        if isinstance(problem, MemoryError) or getattr(problem, "errno", None) == errno.ENOMEM:
            return True
        if any(words in str(problem) for words in NO_MEMORY):
            return True
        problem = problem.__cause__ or problem.__context__
    return False
