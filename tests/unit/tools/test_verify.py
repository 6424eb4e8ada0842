"""What a repository holds is what was built, or the first file that is not is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError
from conch_tools.verify import verify


def built(repository: Path, model: str, **files: str) -> Path:
    """A version folder with a manifest of its files."""
    version = repository / model / "1"
    version.mkdir(parents=True)
    listed = {}
    for name, text in files.items():
        (version / name).write_text(text)
        listed[name] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text)}
    (version / "manifest.json").write_text(json.dumps({"files": listed}))
    return version


def problems(repository: Path, *models: str) -> list[str]:
    return [each.problem for each in verify(repository, models) if each.problem is not None]


def test_what_was_built_is_counted_and_nothing_is_said(tmp_path: Path) -> None:
    built(tmp_path, "mood_labels", labels="good\nbad\n")
    built(tmp_path, "mood_model", graph="x" * 100, data="y" * 50)
    found = verify(tmp_path)
    assert [(each.files, each.bytes, each.problem) for each in found] == [(1, 9, None), (2, 150, None)]


def test_a_changed_file_is_named_though_it_is_as_long_as_before(tmp_path: Path) -> None:
    version = built(tmp_path, "mood_labels", labels="good\nbad\n")
    (version / "labels").write_text("evil\nbad\n")
    (problem,) = problems(tmp_path)
    assert str(version / "labels") in problem and "is not the file that was built" in problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (built(tmp_path, "mood_labels", labels="good\nbad\n") / "labels").unlink()
    assert "missing" in problems(tmp_path)[0]


@pytest.mark.parametrize("stranger", ["model.py", "assets/more.bin", ".hidden"])
def test_a_file_that_nobody_built_is_named(tmp_path: Path, stranger: str) -> None:
    version = built(tmp_path, "mood_labels", labels="good\nbad\n")
    (version / stranger).parent.mkdir(exist_ok=True)
    (version / stranger).write_text("import os\n")
    assert problems(tmp_path) == [f"{version / stranger} is not listed in manifest.json: remove it, or build again"]


def test_files_without_a_manifest_are_a_fault_and_an_empty_version_is_none(tmp_path: Path) -> None:
    (tmp_path / "ensemble" / "1").mkdir(parents=True)
    (tmp_path / "stranger" / "7").mkdir(parents=True)
    (tmp_path / "stranger" / "7" / "model.onnx").write_text("graph")
    assert problems(tmp_path) == [
        f"{tmp_path / 'stranger' / '7'} has no manifest.json: nobody can tell whether it is what was built"
    ]


def test_an_unreadable_manifest_is_a_fault(tmp_path: Path) -> None:
    (built(tmp_path, "mood_labels", labels="good\n") / "manifest.json").write_text("{")
    assert "manifest.json does not list files" in problems(tmp_path)[0]


def test_a_link_to_nowhere_is_a_fault(tmp_path: Path) -> None:
    version = built(tmp_path, "mood_labels", labels="good\n")
    (version / "more").symlink_to(tmp_path / "gone")
    assert problems(tmp_path)


def test_only_the_models_named_are_looked_at(tmp_path: Path) -> None:
    built(tmp_path, "good_labels", labels="good\n")
    (built(tmp_path, "bad_labels", labels="bad\n") / "labels").unlink()
    assert not problems(tmp_path, "good_labels")


def test_a_model_or_a_repository_that_is_not_there_is_refused(tmp_path: Path) -> None:
    built(tmp_path, "mood_labels", labels="good\n")
    with pytest.raises(RepositoryError, match="there is no model `moody`"):
        verify(tmp_path, ["moody"])
    with pytest.raises(RepositoryError, match="there is no model repository"):
        verify(tmp_path / "nowhere")


def test_nothing_to_compare_is_no_proof(tmp_path: Path) -> None:
    (tmp_path / "ensemble" / "1").mkdir(parents=True)
    with pytest.raises(RepositoryError, match="holds no built files"):
        verify(tmp_path)
