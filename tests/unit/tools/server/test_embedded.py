"""A server's end leaves nothing, however it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conch_tools.errors import ServerFailed
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.settings import Settings
from conch_tools.signals import Stopped

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


class Workspace:
    """Stands in for the server's folder."""

    removed = False

    def remove(self) -> None:
        self.removed = True


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """Stands in for a tritonserver that takes its time to stop."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield process
        process.kill()


@pytest.fixture
def workspace() -> Workspace:
    return Workspace()


@pytest.fixture
def server(process: subprocess.Popen[str], workspace: Workspace) -> EmbeddedServer:
    server = EmbeddedServer(ServerOptions(Settings(stop_timeout_s=60)))
    server._process, server._workspace = process, workspace  # type: ignore[assignment]
    return server


def test_a_signal_while_it_stops_leaves_neither_process_nor_files(
    server: EmbeddedServer, process: subprocess.Popen[str], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_wait = process.wait

    def interrupted(timeout: float | None = None) -> int:
        raise Stopped(signal.SIGINT)

    monkeypatch.setattr(process, "wait", interrupted)
    with pytest.raises(Stopped):
        server.stop()
    assert really_wait(10) == -signal.SIGKILL
    assert workspace.removed


def test_a_process_that_does_not_end_even_killed_is_told(
    server: EmbeddedServer, process: subprocess.Popen[str], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(timeout: float | None = None) -> int:
        raise subprocess.TimeoutExpired("tritonserver", timeout or 0.0)

    monkeypatch.setattr(process, "wait", never)
    with pytest.raises(ServerFailed, match=rf"process {process.pid}\) does not end, even killed"):
        server.stop()
    assert workspace.removed
    monkeypatch.undo()
    server.stop()
