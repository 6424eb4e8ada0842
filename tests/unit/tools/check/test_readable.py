"""What this user may not read is one finding, and everything else is judged as ever."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conch_tools.check import Finding, Severity, check_repository
from conch_tools.check.examples import sound_repository, write_repository
from conch_tools.check.report import Format, render
from conch_tools.settings import Settings

NOBODY = 65534
SOUND = sound_repository()


@pytest.fixture
def models() -> Iterator[Path]:
    """The repository of examples, in a folder that is open to all users."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        repository = Path(folder, "models")
        write_repository(SOUND, repository)
        # Whatever the check imports late is imported now, as the user who may read it.
        assert check(repository) == []
        yield repository


def check(repository: Path) -> list[Finding]:
    return check_repository(repository, Settings().backends)


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """As a user whom modes bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def closed(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with without_rights():
            yield
    finally:
        path.chmod(mode)


def told(repository: Path) -> list[tuple[str, str]]:
    return [(each.code, each.file.relative_to(repository).as_posix()) for each in check(repository)]


@pytest.mark.parametrize("path", [path for path in SOUND if not path.endswith("/")])
def test_a_file_is_told_and_nothing_else_made_of_it(models: Path, path: str) -> None:
    with closed(models / path):
        assert told(models) in ([("FIL012", path)], [])


@pytest.mark.parametrize(
    "path",
    [
        "words/config.pbtxt",
        "words/1/model.py",
        "double/1/model.onnx",
        "sentiment/pipeline.toml",
        "sentiment_model/labels.txt",
        "sentiment_labels/1/manifest.json",
        "sentiment_labels/1/labels.txt",
        "words",
        "words/1",
        "sentiment",
        "sentiment_labels/1",
    ],
)
def test_what_triton_reads_of_a_model_is_an_error(models: Path, path: str) -> None:
    with closed(models / path):
        [finding] = check(models)
    assert (finding.code, finding.severity, finding.file) == ("FIL012", Severity.ERROR, models / path)
    assert "chmod" in finding.cure


@pytest.mark.parametrize("form", Format)
def test_every_report_tells_of_a_closed_folder(models: Path, form: Format) -> None:
    with closed(models / "words"):
        assert "FIL012" in render(check(models), form, models)


def test_every_other_fault_is_told_as_well(models: Path) -> None:
    (models / "topics" / "config.pbtxt").write_text("inputs { }")
    with closed(models / "words"):
        assert told(models) == [("CFG001", "topics/config.pbtxt"), ("FIL012", "words")]


def test_what_triton_does_not_read_may_be_closed(models: Path) -> None:
    notes = models / "words" / "README.md"
    notes.touch()
    with closed(notes):
        assert told(models) == []


def test_what_a_file_system_keeps_for_itself_is_no_model_whoever_looks(models: Path) -> None:
    found = models / "lost+found"
    found.mkdir()
    assert told(models) == [("FIL001", "lost+found")]
    with closed(found):
        assert told(models) == [("FIL001", "lost+found")]


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_to_nowhere_or_to_itself_is_told(models: Path, target: str) -> None:
    (models / "words" / "link").symlink_to(target)
    (models / "link").symlink_to(target)
    assert told(models) == [("FIL013", "link"), ("FIL012", "words/link")]


def test_a_link_to_a_folder_counts_as_the_folder(models: Path) -> None:
    (models.parent / "elsewhere").mkdir()
    (models / "link").symlink_to(models.parent / "elsewhere")
    (models / "again").symlink_to(models / "double")
    assert told(models) == [("FIL001", "link")]


def test_a_link_back_up_ends_no_check(models: Path) -> None:
    (models / "words" / "1" / "up").symlink_to("..")
    (models / "words" / "1" / "here").symlink_to(".")
    assert told(models) == []
