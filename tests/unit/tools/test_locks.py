"""A lock is held by one process, told to others, and gone with its holder."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch_tools.locks import Locked, is_held, only_one

HOLD = """
import sys, pathlib
from conch_tools.locks import only_one
with only_one(pathlib.Path(sys.argv[1]), 0, lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_waits_in_vain_is_told_who_holds_it(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert is_held(tmp_path / "lock")
    waited: list[None] = []
    with (
        pytest.raises(Locked, match=f"process {other.pid}"),
        only_one(tmp_path / "lock", 0, lambda: waited.append(None)),
    ):
        pass
    assert len(waited) == 1


def test_a_file_that_takes_no_name_is_named(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused, only_one(tmp_path / "lock", 0, lambda: None):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.filename == str(tmp_path / "lock")


def test_a_killed_holder_leaves_it_open(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    assert not is_held(tmp_path / "lock")
    with only_one(tmp_path / "lock", 0, lambda: pytest.fail("nobody holds it")):
        assert is_held(tmp_path / "lock")


def test_a_lock_that_is_not_there_is_not_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "lock")
