"""Child services: what does not start is named with its last words, and nothing is left running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from conch_tools.bench.child import ChildService
from conch_tools.bench.errors import ContenderFailed
from conch_tools.server.ports import free_ports

BROKEN = "print('no model in the folder'); raise SystemExit(1)"
DEAF = "import sys; print('I listen to nobody', flush=True); sys.stdin.read()"


HEALTHY = """
import http.server, sys
from conch_tools.bench.services.lifeline import end_with_parent

class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

end_with_parent()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Healthy).serve_forever()
"""
PARENT = """
import sys
from conch_tools.bench.child import ChildService

with ChildService("The service", "a_service", "folder", int(sys.argv[1]), start_timeout_s=20.0) as service:
    service.wait_until_ready()
    print("asleep", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that `python -m a_service` runs."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "a_service.py"


def test_a_service_that_ends_at_once_is_named_with_its_last_words(module: Path) -> None:
    module.write_text(BROKEN)
    with (
        ChildService("The service", "a_service", "folder", 1, start_timeout_s=20.0) as service,
        pytest.raises(ContenderFailed, match="The service ended before it was ready: no model in the folder"),
    ):
        service.wait_until_ready()


def test_a_service_that_is_never_ready_is_given_up_and_stopped(module: Path) -> None:
    module.write_text(DEAF)
    with ChildService("The service", "a_service", "folder", 1, start_timeout_s=2.0) as service:
        with pytest.raises(ContenderFailed, match="not ready within 2 s: I listen to nobody"):
            service.wait_until_ready()
        assert running(module.stem)
    assert not running(module.stem)


def test_a_sleeping_service_ends_when_its_parent_is_killed(module: Path) -> None:
    module.write_text(HEALTHY)
    [port] = free_ports(1)
    command = [sys.executable, "-c", PARENT, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "asleep\n"
        services = psutil.Process(parent.pid).children(recursive=True)
        assert [service.status() for service in services] == [psutil.STATUS_STOPPED]
        parent.kill()
    gone, alive = psutil.wait_procs(services, timeout=10.0)
    assert gone and not alive


def running(module: str) -> list[int]:
    """Our child processes that run a module; what another test's process has left to be reaped runs none."""
    children = psutil.Process().children(recursive=True)
    alive = (each for each in children if each.status() != psutil.STATUS_ZOMBIE)
    return [each.pid for each in alive if module in each.cmdline()]
