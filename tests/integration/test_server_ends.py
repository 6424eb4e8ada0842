"""However a server ends, it ends whole: in time, with a sentence, and without a trace."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from conch_tools.errors import AlreadyRunning, PortTaken, ServerFailed
from conch_tools.serve import serving
from conch_tools.server import EmbeddedServer
from conch_tools.server.embedded import ADMIN_HEADER
from conch_tools.server.record import ServerRecord, key_path
from conch_tools.settings import Settings

AddModel = Callable[..., Path]
MakeSettings = Callable[..., Settings]
StartTriton = Callable[..., EmbeddedServer]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
StartConch = Callable[..., "subprocess.Popen[str]"]
WaitUntil = Callable[..., None]

STOP_LIMIT_S = 5.0
"""What a stopping server may take."""
PLACES = (Path(tempfile.gettempdir()), Path("/dev/shm"))


@pytest.fixture
def mini(add_model: AddModel, make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """Settings of a server with one small model."""
    add_model(tmp_path / "repository", "m")
    return make_settings(tmp_path / "repository")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the test's own, which no server that starts elsewhere sweeps."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def served(mini: Settings, start_conch: StartConch, wait_until: WaitUntil) -> Iterator[subprocess.Popen[str]]:
    """A `conch serve` that is ready."""
    process = start_conch("serve", settings=mini)
    wait_until(lambda: ServerRecord.read(mini) is not None or process.poll() is not None, "conch serve is ready")
    assert process.poll() is None
    yield process


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The server and the steps under a `conch serve`."""
    found = psutil.Process(process.pid).children(recursive=True)
    members = [member for member in found if member.status() != psutil.STATUS_ZOMBIE]
    assert sorted(member.name() for member in members) == ["triton_python_backend_stub", "tritonserver"]
    return members


def step_of(members: list[psutil.Process]) -> psutil.Process:
    return next(member for member in members if member.name() != "tritonserver")


def alive(members: list[psutil.Process]) -> bool:
    return any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)


def traces(process: subprocess.Popen[str]) -> list[Path]:
    """The folder and the shared memory of a `conch serve`."""
    return [entry for place in PLACES for entry in place.glob(f"conch-{process.pid}-*")]


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "conch.log").read_text()


def test_a_server_keeps_its_key_private_refuses_a_second_one_and_ends_at_ctrl_c(
    served: subprocess.Popen[str], mini: Settings
) -> None:
    assert stat.S_IMODE(key_path(mini).stat().st_mode) == 0o600
    record = ServerRecord.read(mini)
    assert record is not None and record.pid == served.pid
    connection = http.client.HTTPConnection(record.http, timeout=10)
    connection.request("POST", "/v2/repository/index", "{}", {ADMIN_HEADER: key_path(mini).read_text()})
    assert connection.getresponse().status == 200
    connection.close()

    with pytest.raises(AlreadyRunning) as refused, serving(mini, []):
        pass
    assert str(refused.value).startswith(
        f"Conch already serves on port {mini.http_port} (process {served.pid}): scripts/down stops it"
    )
    elsewhere = mini.model_copy(update={"state": mini.state / "other"})
    with pytest.raises(PortTaken, match=f"port {mini.http_port} .* is taken by process"), serving(elsewhere, []):
        pass

    members = family(served)
    began = time.monotonic()
    served.send_signal(signal.SIGINT)
    assert served.wait(STOP_LIMIT_S) == 0
    assert time.monotonic() - began < STOP_LIMIT_S
    assert not alive(members) and not traces(served) and not list(mini.state.iterdir())


def test_a_dead_step_and_an_idle_connection_do_not_hold_up_the_end(
    served: subprocess.Popen[str], mini: Settings, tmp_path: Path
) -> None:
    members = family(served)
    with socket.create_connection(("127.0.0.1", mini.http_port)) as idle:
        idle.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: here\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        step_of(members).kill()

        began = time.monotonic()
        served.send_signal(signal.SIGTERM)
        assert served.wait(2 * STOP_LIMIT_S) == 0
        assert time.monotonic() - began < STOP_LIMIT_S
    assert not alive(members) and not traces(served) and not list(mini.state.iterdir())
    assert "Traceback" not in log_of(tmp_path)


def test_a_step_that_dies_is_told_once_by_its_model_and_started_again(
    served: subprocess.Popen[str], mini: Settings, wait_until: WaitUntil, tmp_path: Path
) -> None:
    members = family(served)
    step_of(members).kill()
    file = mini.backends / "class_labels" / "model.py"
    wait_until(lambda: "loaded anew in" in log_of(tmp_path), "the step is started again", timeout_s=20)
    assert log_of(tmp_path).count(f"conch: a Python process of model `m` ({file}) died\n") == 1
    assert served.poll() is None and step_of(family(served)).pid != step_of(members).pid


def test_a_server_that_somebody_stopped_is_replaced(
    served: subprocess.Popen[str], wait_until: WaitUntil, tmp_path: Path
) -> None:
    server = next(member for member in family(served) if member.name() == "tritonserver")
    server.suspend()
    wait_until(lambda: "tritonserver is ready again" in log_of(tmp_path), "there is a new server", timeout_s=60)
    assert "tritonserver is to be replaced, because somebody stopped it" in log_of(tmp_path)
    assert not server.is_running() and len(family(served)) == 2


def test_a_model_that_triton_refuses_costs_neither_the_server_nor_the_command(
    served: subprocess.Popen[str], mini: Settings, wait_until: WaitUntil, tmp_path: Path
) -> None:
    members = family(served)
    next(mini.repository.glob("m/1/*")).write_text("")
    step_of(members).kill()
    wait_until(lambda: log_of(tmp_path).count("not loaded anew") > 3, "it is tried again and again", timeout_s=60)
    assert served.poll() is None and members[0].is_running() and "starting a new one" not in log_of(tmp_path)


def test_a_step_that_dies_is_only_told_when_healing_is_off(
    mini: Settings, start_conch: StartConch, wait_until: WaitUntil, tmp_path: Path
) -> None:
    served = start_conch("serve", settings=mini.model_copy(update={"heal": False}))
    wait_until(lambda: ServerRecord.read(mini) is not None, "conch serve is ready")
    step_of(family(served)).kill()
    wait_until(lambda: ") died\n" in log_of(tmp_path), "the death is told", timeout_s=10)
    psutil.Process(served.pid).children()[0].kill()
    assert served.wait(STOP_LIMIT_S) == ServerFailed.exit_code
    assert (
        log_of(tmp_path).splitlines()[-1]
        == "conch: tritonserver was killed by SIGKILL though nobody stopped it; the log above says more"
    )


def test_a_killed_conch_leaves_no_process_and_the_next_start_sweeps_the_rest(
    served: subprocess.Popen[str], mini: Settings, start_triton: StartTriton, wait_until: WaitUntil
) -> None:
    members = family(served)
    step_of(members).kill()
    served.kill()
    served.wait(STOP_LIMIT_S)
    wait_until(lambda: not alive(members), "the server and its steps have ended", timeout_s=STOP_LIMIT_S)
    assert {entry.parent for entry in traces(served)} == set(PLACES)
    assert ServerRecord.read(mini) is None

    server = start_triton(mini.repository)
    assert not traces(served)
    server.stop()


def test_down_sweeps_what_a_killed_conch_left_and_ends_a_step_that_hangs(
    temporary: Path, served: subprocess.Popen[str], mini: Settings, run_conch: RunConch
) -> None:
    members = family(served)
    assert list(temporary.iterdir())
    step_of(members).suspend()
    served.kill()
    served.wait(STOP_LIMIT_S)
    down = run_conch("down", settings=mini)
    assert down.returncode == 0
    assert re.fullmatch(rf"conch: swept what a killed server left \(process .*\b{served.pid}\b.*\)\n", down.stderr)
    assert not alive(members) and not traces(served)
    assert not list(temporary.iterdir()) and not list(mini.state.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_can_be_stopped_while_it_loads(
    slow_repository: Path,
    make_settings: MakeSettings,
    start_conch: StartConch,
    wait_until: WaitUntil,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    process = start_conch("serve", settings=make_settings(slow_repository))
    wait_until(lambda: "loading: sleeper:1" in log_of(tmp_path), "the model is being loaded")
    process.send_signal(number)
    assert process.wait(STOP_LIMIT_S) == 128 + number
    assert log_of(tmp_path).splitlines()[-1] == f"conch: stopped by {number.name} before everything was up"
    assert not traces(process) and "Traceback" not in log_of(tmp_path)
