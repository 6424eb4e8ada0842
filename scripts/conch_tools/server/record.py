"""The record of a running server, by which other commands find it, stop it and open its restricted endpoints.

One file a server, named by its HTTP port, in the state folder: process id, when that process began (ids are used
again), addresses. The admin key lies beside it, readable by its owner only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from conch_tools.errors import ConchError, NotRunning, SettingsError, in_words
from conch_tools.server.workspace import sweep_abandoned, write_private
from conch_tools.settings import Settings

STOP_MARGIN_S = 5.0
CLOCK_SHIFT_S = 10.0
"""A process that began this close to the recorded time is the recorded one: ids are not used again so soon."""
LARGEST_PID = 2**31 - 1
"""What the kernel's type for process ids holds."""


@dataclass(frozen=True)
class ServerRecord:
    """A server that `conch serve` or `conch up` holds."""

    pid: Annotated[int, Field(gt=0, le=LARGEST_PID)]
    """The supervising conch process."""
    began: FiniteFloat
    """When it began, seconds since the epoch."""
    http: str
    grpc: str
    metrics: str
    health: str
    """host:port of the health endpoint, which comes up a moment after the record."""
    repository: str
    """The folder that it serves."""
    profile: str | None
    """The hardware profile that it serves it with."""

    @classmethod
    def read(cls, settings: Settings) -> ServerRecord | None:
        """The live server on the configured HTTP port, or None; a record that is damaged or whose process is gone is
        removed."""
        path = _path(settings)
        try:
            record = TypeAdapter(cls).validate_json(path.read_bytes(), strict=True)
        except FileNotFoundError:
            return None
        except ValidationError:
            path.unlink(missing_ok=True)
            return None
        if not record.alive:
            record.remove(settings)
            return None
        return record

    @classmethod
    def require(cls, settings: Settings) -> ServerRecord:
        """The live server on the configured HTTP port. Raises NotRunning when there is none."""
        record = cls.read(settings)
        if record is None:
            raise NotRunning(f"no server of this checkout runs on port {settings.http_port}: scripts/up starts one")
        return record

    @property
    def alive(self) -> bool:
        """Whether the very process that wrote the record still runs."""
        try:
            process = psutil.Process(self.pid)
            # The system derives this time from its clock, which may have been set since.
            same = abs(process.create_time() - self.began) < CLOCK_SHIFT_S
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def write(self, settings: Settings, admin_key: str) -> None:
        """Write the record and, readable by the owner only, the admin key. Raises SettingsError where they cannot be
        kept."""
        new = _path(settings).with_suffix(".new")
        try:
            settings.state.mkdir(parents=True, exist_ok=True)
            write_private(key_path(settings), admin_key)
            # Moved into place whole, because `conch up --detach` is waiting for it.
            new.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
            os.replace(new, _path(settings))
        except OSError as problem:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise SettingsError(
                f"the server's key and record cannot be kept in {settings.state}: {in_words(problem)}: "
                "mend that, or set CONCH_STATE to another folder"
            ) from problem

    def remove(self, settings: Settings) -> None:
        """Remove the record, the key, and what loads left."""
        of_loads = (load_lock_path, loading_lock_path, load_mark_path)
        for path_of in (_path, key_path, *of_loads):
            path_of(settings).unlink(missing_ok=True)


def record_of_this_process(settings: Settings, http: str, grpc: str, metrics: str, health: str) -> ServerRecord:
    """A record that names the calling process as the supervisor."""
    repository = str(settings.repository.resolve())
    return ServerRecord(
        os.getpid(), psutil.Process().create_time(), http, grpc, metrics, health, repository, settings.profile
    )


def key_path(settings: Settings) -> Path:
    """The file with the admin key of the server on the configured HTTP port, mode 0600."""
    return settings.state / f"server-{settings.http_port}.key"


def load_lock_path(settings: Settings) -> Path:
    """The lock of `conch load`, which only one at a time tries and loads for the server on the configured port."""
    return settings.state / f"server-{settings.http_port}.load"


def loading_lock_path(settings: Settings) -> Path:
    """The lock that `conch load` holds while the server is between what it served and what it is to serve."""
    return settings.state / f"server-{settings.http_port}.loading"


def load_mark_path(settings: Settings) -> Path:
    """The file that changes with each load that succeeds."""
    return settings.state / f"server-{settings.http_port}.loaded"


def stop_recorded(settings: Settings) -> str:
    """Stop the server on the configured HTTP port and wait for its end, or sweep what a killed one left; says which.

    Raises NotRunning when there is neither, ConchError when the server does not end in time even after SIGKILL.
    """
    record = ServerRecord.read(settings)
    if record is None:
        killed = sweep_abandoned()
        if not killed:
            raise NotRunning(f"no server of this checkout runs on port {settings.http_port}: nothing to stop")
        return f"swept what a killed server left (process {', '.join(map(str, sorted(killed)))})"
    try:
        _end(psutil.Process(record.pid), settings.stop_timeout_s + STOP_MARGIN_S)
    except psutil.AccessDenied as problem:
        raise ConchError(f"process {record.pid} belongs to another user, who must stop it") from problem
    except psutil.NoSuchProcess:
        pass
    record.remove(settings)
    sweep_abandoned()
    return f"stopped (process {record.pid})"


def _end(process: psutil.Process, patience_s: float) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_s)
    except psutil.TimeoutExpired:
        process.kill()
        try:
            process.wait(STOP_MARGIN_S)
        except psutil.TimeoutExpired as problem:
            raise ConchError(f"process {process.pid} does not end, even killed: it may hang in the kernel") from problem


def _path(settings: Settings) -> Path:
    return settings.state / f"server-{settings.http_port}.json"
