"""A child that died and is not reaped is noticed at the second look, so that one being reaped is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conch_tools.server import children
from conch_tools.server.children import Children


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


def test_a_dead_child_is_noticed_at_the_second_look(child: int) -> None:
    ours = Children(os.getpid())
    assert [ours.one_is_dead() for _ in range(3)] == [False, False, False]
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert [ours.one_is_dead() for _ in range(3)] == [False, True, True]


def test_a_child_that_is_reaped_between_two_looks_is_none(child: int) -> None:
    ours = Children(os.getpid())
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert not ours.one_is_dead()
    os.waitpid(child, 0)
    assert not ours.one_is_dead()


def test_a_parent_that_is_gone_has_no_children() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(30)
    gone = Children(process.pid)
    assert not gone.one_is_dead() and not gone.one_is_dead()


def test_time_must_pass_before_a_look(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "DEAD_CHILD_S", 60)
    patient = Children(os.getpid())
    os.kill(child, signal.SIGKILL)
    assert not any(patient.one_is_dead() for _ in range(5))
