"""Triton's own trace of single requests: exact, per request, inside the ensemble.

Tracing is switched on for one model, for a limited number of requests, and off again whatever happens in between. Where
the files go can be said only when a server starts, so this needs a server that was told (Conch's are) and whose files
can be read: one on this machine. Each traced request is a file of its own, which is removed once it was read. A file
beside them names the process that traces, so that what a killed one left on is taken over.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from conch_tools.xray.server import Refused, Server
from conch_tools.xray.timing import Request
from conch_tools.xray.traces import Traced, request_of, traced_in

SETTINGS = ("trace_level", "trace_rate", "trace_count", "log_frequency")
SPARE_REQUESTS = 500
"""Others' requests that may be traced beside ours. Then Triton stops by itself, should we be killed."""
FILES_WAIT_S = 3.0
"""Triton writes a trace a moment after the answer."""
POLL_S = 0.01


class NoTrace(Exception):
    """This server's requests cannot be traced from here; says why, and what to do."""


class Traces:
    """The traces of one model's requests, while it is traced."""

    def __init__(self, file: Path, model: str) -> None:
        self._file, self._model = file, model
        self._requests: dict[str, Request] = {}
        self._owner = file.with_name(f"{file.name}.{model}.owner")
        self.abandoned = self._is_abandoned()
        """Whether whoever traced this model was killed before it could switch that off."""
        # What a killed one left is removed, what somebody else keeps is not.
        self._others = set[Path]() if self.abandoned else set(self._files())

    def claim(self) -> None:
        """Say that this process traces the model. In a folder of another user's, nobody will be told."""
        with contextlib.suppress(OSError):
            self._owner.write_text(str(os.getpid()), encoding="ascii")

    def release(self) -> None:
        """Take that back, and remove what was traced."""
        with contextlib.suppress(NoTrace):
            self.collect()
        with contextlib.suppress(OSError):
            self._owner.unlink()

    def of(self, request_ids: Collection[str]) -> list[Request]:
        """The requests with these ids. Raises NoTrace when Triton does not write them in time."""
        deadline = time.monotonic() + FILES_WAIT_S
        while not self._requests.keys() >= set(request_ids):
            self.collect()
            if time.monotonic() > deadline:
                missing = len(set(request_ids) - self._requests.keys())
                raise NoTrace(f"the server wrote no trace of {missing} of {len(request_ids)} requests")
            time.sleep(POLL_S)
        return [self._requests[each] for each in request_ids]

    def collect(self) -> None:
        """Read and remove the files that this model's requests made, ours and those of others that came meanwhile."""
        for path in set(self._files()) - self._others:
            try:
                traced = traced_in(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except OSError as problem:
                raise NoTrace(f"the server's trace file {path} cannot be read: {problem.strerror}") from problem
            except ValueError:
                # It is being written.
                continue
            self._take(path, traced)

    def _take(self, path: Path, traced: list[Traced]) -> None:
        roots = [each for each in traced if each.parent is None]
        if any(root.model != self._model for root in roots):
            # Another model is traced as well.
            self._others.add(path)
            return
        for root in roots:
            with contextlib.suppress(ValueError):
                self._requests[root.request_id] = request_of(root, traced)
        with contextlib.suppress(OSError):
            path.unlink()

    def _is_abandoned(self) -> bool:
        try:
            return not psutil.pid_exists(int(self._owner.read_text(encoding="ascii")))
        except (OSError, ValueError, OverflowError):
            return False

    def _files(self) -> list[Path]:
        return list(self._file.parent.glob(f"{self._file.name}.[0-9]*"))


@contextmanager
def traced(server: Server, model: str, requests: int) -> Iterator[Traces]:
    """Trace a model's next requests, `requests` of them ours. Raises NoTrace before the block begins."""
    try:
        general, before = server.trace_settings(""), server.trace_settings(model)
    except Refused as problem:
        raise NoTrace(f"the server's trace API is closed to us: {problem}") from problem
    traces = Traces(_file(server, before), model)
    tracing = before["trace_level"] != ["OFF"]
    if tracing and not traces.abandoned:
        raise NoTrace(f"somebody is tracing `{model}` already")
    own = before != general and not tracing
    try:
        traces.claim()
        _trace(server, model, requests + SPARE_REQUESTS)
        yield traces
    finally:
        with contextlib.suppress(Refused):
            server.set_trace(model, {name: before[name] if own else None for name in SETTINGS})
        traces.release()


def _trace(server: Server, model: str, count: int) -> None:
    wanted = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": str(count), "log_frequency": "1"}
    try:
        server.set_trace(model, wanted)
    except Refused as problem:
        raise NoTrace(f"the server does not let us trace: {problem}") from problem


def _file(server: Server, settings: dict[str, list[str]]) -> Path:
    if settings.get("trace_mode", ["triton"]) != ["triton"]:
        raise NoTrace(f"the server sends its traces away (mode {settings['trace_mode'][0]})")
    named = "".join(settings.get("trace_file", []))
    if not named:
        raise NoTrace("the server was started without a trace file (--trace-config triton,file=PATH)")
    if not server.is_local:
        raise NoTrace("the server writes its traces on its own machine")
    if not Path(named).parent.is_dir():
        raise NoTrace(f"the server's trace files ({named}.*) cannot be seen from here: it may run in a container")
    return Path(named)
