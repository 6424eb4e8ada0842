"""A server's folder: made of links, swept when its owner is gone, and never left half made."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch_tools.errors import UnsuitableMachine
from conch_tools.server.wheel import TritonWheel
from conch_tools.server.workspace import SHARED_MEMORY, Workspace, sweep_abandoned, write_private


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path: Path) -> TritonWheel:
    """A wheel of three small files."""
    for name in ("python/libtriton_python.so", "python/triton_python_backend_utils.py", "3.11/stub"):
        file = tmp_path / "wheel" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content " * 100)
    root = tmp_path / "wheel"
    return TritonWheel(
        server=root / "tritonserver",
        python_backend=root / "python",
        stub=root / "3.11" / "stub",
        caches=root,
        libraries=(root,),
    )


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """A repository and a folder of backends, in a place with a blank and a bracket in its name."""
    place = tmp_path / "a place (of one's own)"
    for name in ("repository/mood_labels/1/labels.txt", "backends/labels/model.py", "backends/steps/logic.py"):
        (place / name).parent.mkdir(parents=True)
        (place / name).touch()
    (place / "repository" / "mood_labels" / "config.pbtxt").write_text('backend: "labels"')
    return place / "repository", place / "backends"


@pytest.fixture
def workspace(temporary: Path, wheel: TritonWheel, sources: tuple[Path, Path]) -> Iterator[Workspace]:
    made = Workspace(wheel, *sources)
    yield made
    made.remove()


def test_the_server_sees_repository_and_backends_under_plain_names(workspace: Workspace) -> None:
    assert (workspace.repository / "mood_labels" / "1" / "labels.txt").is_file()
    assert sorted(path.name for path in workspace.backends.iterdir()) == ["labels", "python"]
    assert sorted(path.name for path in (workspace.backends / "python").iterdir()) == [
        "libtriton_python.so",
        "stub",
        "triton_python_backend_utils.py",
    ]
    assert " " not in str(workspace.repository) + str(workspace.backends)


def test_people_see_the_paths_they_know(workspace: Workspace, sources: tuple[Path, Path]) -> None:
    said = f"{workspace.repository}/mood_labels/1 and {workspace.backends}/labels/model.py"
    assert workspace.in_source_terms(said) == f"{sources[0]}/mood_labels/1 and {sources[1]}/labels/model.py"


def test_the_file_behind_a_model_is_found(workspace: Workspace, sources: tuple[Path, Path]) -> None:
    repository, backends = sources
    assert workspace.backend_file("mood_labels", "1") == backends / "labels" / "model.py"
    (repository / "mood_labels" / "config.pbtxt").write_text('backend: "python"')
    assert workspace.backend_file("mood_labels", "1") is None
    (repository / "mood_labels" / "1" / "model.py").touch()
    assert workspace.backend_file("mood_labels", "1") == repository / "mood_labels" / "1" / "model.py"
    (repository / "mood_labels" / "config.pbtxt").write_text("no: such field")
    assert workspace.backend_file("mood_labels", "1") is None
    assert workspace.backend_file("unknown", "1") is None


def test_removal_takes_folder_and_shared_memory_along(workspace: Workspace) -> None:
    region = SHARED_MEMORY / f"{workspace.shared_memory_prefix}region"
    region.touch()
    workspace.remove()
    assert not region.exists() and not workspace.folder.exists()


def test_a_folder_that_cannot_be_filled_is_removed_again(
    temporary: Path, wheel: TritonWheel, sources: tuple[Path, Path]
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(UnsuitableMachine, match=f"cannot be made in {temporary}: File too large: make room"):
            Workspace(wheel, *sources)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(temporary.iterdir())


def test_a_temporary_directory_that_steps_cannot_start_from_is_refused(
    tmp_path: Path, wheel: TritonWheel, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "odd (one)"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with pytest.raises(UnsuitableMachine, match="set TMPDIR to a plain path"):
        Workspace(wheel, *sources)
    assert not list(odd.iterdir())


@pytest.fixture
def dead_pid() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    return process.pid


def test_what_dead_owners_left_is_swept_and_nothing_else(temporary: Path, dead_pid: int) -> None:
    abandoned = [temporary / f"conch-{dead_pid}-abc", SHARED_MEMORY / f"conch-{dead_pid}-abc-region"]
    kept = [temporary / f"conch-{os.getpid()}-abc", temporary / "conch-notes", temporary / f"other-{dead_pid}-abc"]
    for folder in (abandoned[0], *kept):
        (folder / "inside").mkdir(parents=True)
    abandoned[1].touch()
    assert dead_pid in sweep_abandoned()
    assert not any(path.exists() for path in abandoned)
    assert all(path.exists() for path in kept)


def test_a_link_is_swept_without_what_it_leads_to(temporary: Path, tmp_path: Path, dead_pid: int) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    link = temporary / f"conch-{dead_pid}-abc"
    link.symlink_to(target)
    sweep_abandoned()
    assert target.exists() and not link.is_symlink()


def test_a_secret_is_written_for_its_owner_only_even_over_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
