"""Worker processes for what needs torch: its exporter holds the interpreter, and its memory should go with the work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from conch_tools.errors import BuildError, ConchError, in_words
from conch_tools.lifeline import die_with_parent

Result = TypeVar("Result")

WORKERS = 2


def in_workers(work: Callable[..., Result], jobs: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Result]]:
    """`work(*arguments)` of every named job, side by side: (name, result) as they are done.

    Raises what a job raises, as BuildError unless it is one of our own errors; all other jobs are ended then, and also
    when the caller stops asking.
    """
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(min(WORKERS, len(jobs)), mp_context=context, initializer=_begin)
    try:
        with _interrupts_held_back():
            waiting = {workers.submit(work, *arguments): name for name, arguments in jobs.items()}
        for done in as_completed(waiting):
            yield waiting[done], _result_of(waiting[done], done.result)
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.kill()
        raise
    finally:
        workers.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, which a terminal sends to all: they would print their stack traces.
    One that comes for us comes a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _result_of(name: str, result: Callable[[], Result]) -> Result:
    try:
        return result()
    except ConchError:
        raise
    except BrokenProcessPool as problem:
        raise BuildError(name, "its process was killed, most likely for want of memory") from problem
    except OSError as problem:
        raise BuildError(name, in_words(problem)) from problem
    except Exception as problem:
        last = traceback.extract_tb(problem.__traceback__)[-1]
        raise BuildError(name, f"{type(problem).__name__}: {problem} ({last.name}, line {last.lineno})") from problem


def _begin() -> None:
    """A command that is killed takes its workers along; what they import says nothing on the screen."""
    die_with_parent()
    import torch
    import transformers

    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
