"""A child that died and is not reaped is told at the second look, so that one being reaped is not, and told once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch_tools.server import children
from conch_tools.server.children import Children, Step


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes between looks."""
    monkeypatch.setattr(children, "DEAD_CHILD_S", 0)


@pytest.fixture
def child() -> Iterator[int]:
    """A child of this process."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process.pid
        process.kill()


def kill(child: int) -> None:
    """Kill a child and leave it unreaped."""
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


def test_a_dead_child_is_told_at_the_second_look_and_once(child: int) -> None:
    ours = Children(os.getpid())
    assert [ours.died() for _ in range(3)] == [[], [], []]
    kill(child)
    assert [ours.died() for _ in range(4)] == [[], [None], [], []]


def test_a_child_that_is_reaped_between_two_looks_is_none(child: int) -> None:
    ours = Children(os.getpid())
    kill(child)
    assert not ours.died()
    os.waitpid(child, 0)
    assert not ours.died()


def test_a_step_that_was_seen_alive_is_told_by_its_model(tmp_path: Path) -> None:
    file = tmp_path / "mood" / "3" / "model.py"
    file.parent.mkdir(parents=True)
    file.write_text("read line")
    ours = Children(os.getpid())
    # A shell under the name of Triton's stub, whose command line is all that counts.
    command = ["/somewhere/triton_python_backend_stub", str(file), "region"]
    with subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE) as stub:
        assert not ours.died()
        kill(stub.pid)
        assert [ours.died() for _ in range(3)] == [[], [Step("mood", "3")], []]


def test_a_parent_that_is_gone_has_no_children() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(30)
    gone = Children(process.pid)
    assert not gone.died() and not gone.died()


def test_time_must_pass_before_a_look(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "DEAD_CHILD_S", 60)
    patient = Children(os.getpid())
    kill(child)
    assert not any(patient.died() for _ in range(5))
