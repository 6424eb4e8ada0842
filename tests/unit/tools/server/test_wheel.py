"""A machine or a Python that cannot run the embedded server is refused before it is started."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conch_tools.errors import UnsuitableMachine
from conch_tools.server.wheel import find_wheel

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_installed_wheel_has_all_its_parts() -> None:
    wheel = find_wheel()
    assert wheel.server.is_file() and wheel.stub.is_file()
    assert (wheel.python_backend / "libtriton_python.so").is_file()
    assert wheel.caches.is_dir() and all(folder.is_dir() for folder in wheel.libraries)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")])
def test_another_machine_is_named(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(UnsuitableMachine, match=f"runs on Linux x86-64, this is {system} {machine}: use a Linux"):
        find_wheel()


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsuitableMachine, match="nvidia-pytriton is not installed: scripts/up installs it"):
        find_wheel()


def test_a_python_without_a_stub_is_named_with_those_that_have_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version in ("3.9", "3.10", "3.12"):
        stub = tmp_path / "pytriton" / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
        stub.parent.mkdir(parents=True)
        stub.touch()
    origin = str(tmp_path / "pytriton" / "__init__.py")
    spec = importlib.machinery.ModuleSpec("pytriton", None, origin=origin)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=13))
    with pytest.raises(UnsuitableMachine) as refused:
        find_wheel()
    assert str(refused.value) == (
        "the wheel has no Python 3.13 stub (it has 3.9, 3.10, 3.12): "
        "make the environment with Python 3.11, for example CONCH_PYTHON=python3.11 scripts/up"
    )


def test_numpy_2_is_refused_with_the_command_that_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1.3")
    with pytest.raises(UnsuitableMachine) as refused:
        find_wheel()
    assert str(refused.value) == (
        "numpy 2.1.3 is installed, but the steps' stub needs numpy 1.26: pip install -c constraints.txt numpy"
    )


def test_a_machine_without_bash_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UnsuitableMachine, match="bash is not on PATH"):
        find_wheel()
