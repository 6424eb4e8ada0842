"""Fixtures for the check: repositories written from a table of files, beside a folder with one backend."""

from __future__ import annotations

import textwrap
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

SOURCE = """\
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
"""
PYTHON = """\
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1 ] }
"""

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
Graph = Callable[[str], bytes]
CheckSource = Callable[..., list[tuple[str, int | None]]]


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


@pytest.fixture
def check_source(check: Check) -> CheckSource:
    """Check one model in Python, `m`, that takes `x` and gives `y`: the codes of what is found, with their lines.

    `execute` is the body of that method; `more` goes into the configuration, `rest` into the class or after it.
    """

    def run(execute: str, more: str = "", rest: str = "", config: str = PYTHON) -> list[tuple[str, int | None]]:
        source = SOURCE + textwrap.indent(textwrap.dedent(execute).strip("\n"), " " * 8) + "\n" + rest
        findings = check({"m/config.pbtxt": config + more, "m/1/model.py": source})
        return sorted((finding.code, finding.line) for finding in findings)

    return run
