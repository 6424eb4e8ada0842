"""A stub that died on its own is told at once and once, by its model; one that its parent reaped is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conch_tools.server import stubs
from conch_tools.server.stubs import Stub, Stubs, cpu_seconds, is_stopped

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a shell under the name of Triton's stub, whose command line is all that counts."""
    started = []

    def begin(model: str) -> subprocess.Popen[bytes]:
        file = tmp_path / model / "3" / "model.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("read line; exit 0")
        command = ["/somewhere/triton_python_backend_stub", str(file), "region"]
        started.append(subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ours() -> Iterator[Stubs]:
    """The stubs of this very process."""
    watched = Stubs(os.getpid())
    yield watched
    watched.close()


def kill(pid: int) -> None:
    """Kill a child and leave it unreaped."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_the_living_are_known_by_their_models(start: Start, ours: Stubs) -> None:
    mood, moon = start("mood"), start("moon")
    ours.look()
    assert ours.of(["mood"]) == [Stub(mood.pid, "mood", "3")]
    assert {stub.pid for stub in ours.all} == {mood.pid, moon.pid}


def test_a_stub_that_died_is_told_at_once_and_once(start: Start, ours: Stubs) -> None:
    mood = start("mood")
    start("moon")
    ours.look()
    began = time.monotonic()
    kill(mood.pid)
    assert ours.wait(30) == [Stub(mood.pid, "mood", "3")]
    assert time.monotonic() - began < 15
    assert ours.wait(0.5) == []
    assert not ours.of(["mood"])


def test_a_stub_that_is_reaped_did_not_die_on_its_own(start: Start, ours: Stubs) -> None:
    mood = start("mood")
    ours.look()
    mood.kill()
    mood.wait()
    assert ours.wait(0.5) == []


def test_one_that_exits_with_0_has_longer_to_be_reaped(start: Start, ours: Stubs) -> None:
    mood = start("mood")
    ours.look()
    assert mood.stdin is not None
    mood.stdin.close()
    os.waitid(os.P_PID, mood.pid, os.WEXITED | os.WNOWAIT)
    assert ours.wait(3 * stubs.REAPED_WITHIN_S) == []
    mood.wait()
    assert ours.wait(0.1) == []


def test_one_that_exits_with_0_and_stays_unreaped_is_told_as_well(
    start: Start, ours: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stubs, "SOUND_END_REAPED_WITHIN_S", 0.3)
    mood = start("mood")
    ours.look()
    assert mood.stdin is not None
    mood.stdin.close()
    assert ours.wait(30) == [Stub(mood.pid, "mood", "3")]


def test_a_stub_that_started_meanwhile_is_known_before_long(
    start: Start, ours: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stubs, "LOOK_EVERY_S", 0.05)
    assert ours.wait(0.1) == []
    mood = start("mood")
    assert ours.wait(0.3) == []
    kill(mood.pid)
    assert ours.wait(30) == [Stub(mood.pid, "mood", "3")]


def test_one_that_was_never_seen_alive_is_told_without_a_model(
    start: Start, ours: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stubs, "LOOK_EVERY_S", 0.05)
    mood = start("mood")
    kill(mood.pid)
    assert ours.wait(30) == [Stub(mood.pid, "", "")]
    assert ours.wait(0.3) == []


def test_a_parent_that_is_gone_has_no_stubs() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(30)
    gone = Stubs(process.pid)
    assert gone.wait(0) == [] and gone.all == []
    gone.close()


def test_what_a_stub_uses_and_whether_it_is_stopped(start: Start, ours: Stubs) -> None:
    mood = start("mood")
    ours.look()
    (stub,) = ours.all
    assert cpu_seconds([stub])[stub] >= 0.0
    assert not is_stopped(stub.pid)
    os.kill(mood.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, mood.pid, os.WSTOPPED | os.WNOWAIT)
    assert is_stopped(stub.pid)
    mood.kill()
    mood.communicate()
    assert cpu_seconds([stub]) == {} and not is_stopped(stub.pid)
