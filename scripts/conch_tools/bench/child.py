"""A service of the bench's own as a child process: started, waited for, stopped in every case, asleep between turns."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO

from conch_tools.bench.errors import ContenderFailed

HOST = "127.0.0.1"
POLL_S = 0.1
STOP_WAIT_S = 5.0
LAST_WORDS_BYTES = 1500


class ChildService:
    """`python -m MODULE MODEL_FOLDER PORT`, ready when /health answers 200.

    A context manager: the process is started, without waiting, on the way in and stopped on the way out.
    """

    def __init__(self, name: str, module: str, model_folder: str, port: int, start_timeout_s: float) -> None:
        self.name = name
        self.address = (HOST, port)
        self._command = [sys.executable, "-m", module, model_folder, str(port)]
        self._start_timeout_s = start_timeout_s
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ChildService:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # A group of its own in our session: if we are killed while it sleeps, the kernel wakes it (an orphaned
            # group gets SIGHUP and SIGCONT), and it ends itself; in a session of its own it would sleep for ever.
            preexec_fn=os.setpgrp,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_ready(self) -> None:
        """Wait until the service is healthy, and put it to sleep. Raises ContenderFailed with its last words."""
        if self._process is not None:
            self._wait_until_healthy(self._process)
            self._signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let the service run within the block only."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Stop the service and every process it started, by force if they take longer than STOP_WAIT_S."""
        process, log = self._process, self._log
        self._process = self._log = None
        if process is not None:
            end_group(process.pid, process.poll)
            process.wait(STOP_WAIT_S)
            if process.stdin is not None:
                process.stdin.close()
        if log is not None:
            log.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        url = f"http://{self.address[0]}:{self.address[1]}/health"
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ContenderFailed(f"{self.name} ended before it was ready: {self._last_words()}")
            if _is_healthy(url):
                return
            time.sleep(POLL_S)
        raise ContenderFailed(f"{self.name} was not ready within {self._start_timeout_s:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        if self._log is None:
            return "it said nothing"
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
        return self._log.read().decode(errors="replace").strip() or "it said nothing"


def end_group(group: int, reap: Callable[[], object]) -> None:
    """Ask a process group to end, asleep or not; kill what is left of it after STOP_WAIT_S.

    Asked first, because semaphores of multiprocessing are files that only a process which ends by itself removes.
    `reap` collects the group's leader once it has ended, which would count as alive until then.
    """
    deadline = time.monotonic() + STOP_WAIT_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        os.killpg(group, signal.SIGCONT)
        while time.monotonic() < deadline:
            reap()
            os.killpg(group, 0)
            time.sleep(POLL_S)
        os.killpg(group, signal.SIGKILL)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
