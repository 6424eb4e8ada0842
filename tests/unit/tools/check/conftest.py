"""Fixtures for the check: repositories written from a table of files, beside a folder with one backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import pytest

from conch_tools.check import Finding, check_repository
from conch_tools.settings import Settings

ECHO = """\
class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]
"""

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
Graph = Callable[[str], bytes]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder that `check` writes to."""
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def backends(tmp_path: Path) -> Path:
    """A folder with the Python-based backend `echo`, and the folder `hollow` that is none."""
    folder = tmp_path / "backends"
    (folder / "echo").mkdir(parents=True)
    (folder / "echo" / "model.py").write_text(ECHO)
    (folder / "hollow").mkdir()
    return folder


@pytest.fixture
def check(repository: Path, backends: Path) -> Check:
    """Write files by path and content and check the repository.

    A path that ends with / is a folder; a .py file without content becomes one with which nothing is wrong.
    """

    def run(files: Mapping[str, str | bytes]) -> list[Finding]:
        write(repository, files)
        return check_repository(repository, backends)

    return run


@pytest.fixture
def check_ours(repository: Path) -> Check:
    """The same, for models that the project's own backends serve."""

    def run(files: Mapping[str, str | bytes]) -> list[Finding]:
        write(repository, files)
        return check_repository(repository, Settings().backends)

    return run


def write(repository: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = repository / name
        folder = path if name.endswith("/") else path.parent
        folder.mkdir(parents=True, exist_ok=True)
        if path != folder:
            content = content or (ECHO if path.suffix == ".py" else "")
            path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def graph() -> Graph:
    """The bytes of an ONNX file from a graph in ONNX's text form."""

    def build(text: str) -> bytes:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')
        return bytes(model.SerializeToString())

    return build
