"""A version folder that differs from its manifest is not served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from conch_steps.errors import ArtifactError
from conch_steps.manifest import verify_manifest

CONTENT = b"weights" * 300_000
"""More than one piece of the hashing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(CONTENT)
    record(tmp_path, {"model.onnx": {"sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT)}})
    return tmp_path


def record(folder: Path, files: Any) -> None:
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def test_a_folder_as_it_was_built_is_accepted(folder: Path) -> None:
    verify_manifest(folder)


def test_a_folder_without_a_manifest_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    verify_manifest(tmp_path)


def test_a_file_of_the_same_size_but_other_content_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"W" + CONTENT[1:])
    with pytest.raises(ArtifactError, match=r"model\.onnx is not the file that was built, .*`conch build`"):
        verify_manifest(folder)


def test_a_file_of_another_size_is_refused_with_both_sizes(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(ArtifactError, match=r"model\.onnx has 2100001 bytes, manifest\.json lists 2100000"):
        verify_manifest(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is listed in manifest\.json but missing"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {"model.onnx": "abc"},
        {"model.onnx": {"bytes": 1}},
        {"../other": {"sha256": "0"}},
        {"/etc/passwd": {"sha256": "0"}},
    ],
)
def test_a_manifest_that_does_not_list_files_of_its_folder_is_refused(folder: Path, files: Any) -> None:
    record(folder, files)
    with pytest.raises(ArtifactError, match=r"manifest\.json does not list files of its folder"):
        verify_manifest(folder)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"files": ' * 100_000, "9" * 10_000, "\0", "\xff"])
def test_a_manifest_that_is_no_json_of_ours_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"manifest\.json does not list files"):
        verify_manifest(folder)


def test_without_content_no_file_is_read(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"W" + CONTENT[1:])
    verify_manifest(folder, content=False)
    (folder / "model.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(ArtifactError, match=r"has 2100001 bytes"):
        verify_manifest(folder, content=False)
