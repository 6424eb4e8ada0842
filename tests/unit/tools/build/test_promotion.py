"""Version folders arrive all or none, whenever the process that moves them is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conch_tools.build.promotion import promote, settle

MODELS = ["shapes_decode", "shapes_model", "shapes"]
"""The pipeline's own last."""
MOMENTS = 40
"""More than a promotion has steps."""
KILLED_AT_EACH_STEP = """
import os, shutil, signal, sys
from pathlib import Path
from conch_tools.build.promotion import promote

def counted(call):
    def counting(*given, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*given, **named)
    return counting

os.replace, shutil.move, shutil.rmtree = map(counted, (os.replace, shutil.move, shutil.rmtree))
folder, moments, *models = sys.argv[1:]
for left in range(int(moments)):
    place = Path(folder, str(left))
    if (child := os.fork()) == 0:
        promote({model: place / "staging" / model / "1" for model in models}, place / "repository")
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def write(folder: Path, content: str) -> dict[str, Path]:
    """A version of each model."""
    for model in MODELS:
        (folder / model / "1").mkdir(parents=True)
        (folder / model / "1" / "content").write_text(content)
    return {model: folder / model / "1" for model in MODELS}


def versions(repository: Path) -> dict[str, str]:
    """What each model holds that has a version."""
    files = {model: repository / model / "1" / "content" for model in MODELS}
    return {model: file.read_text() for model, file in files.items() if file.exists()}


OLD, NEW, NEWEST = (dict.fromkeys(MODELS, content) for content in ("old", "new", "newest"))


@pytest.mark.parametrize("before", [OLD, {}], ids=["an older build", "no build"])
def test_a_promotion_that_is_killed_serves_one_build_and_the_next_ends_it(
    tmp_path: Path, before: dict[str, str]
) -> None:
    for moment in range(MOMENTS):
        write(tmp_path / str(moment) / "staging", "new")
        write(tmp_path / str(moment) / "repository", "old")
        if not before:
            forget_versions(tmp_path / str(moment) / "repository")
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, str(tmp_path), str(MOMENTS), *MODELS]
    codes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {"0", "-9"} == set(codes) and codes[-1] == "0", "killed at every step, and at last at none"
    seen = []
    for moment in range(MOMENTS):
        repository = tmp_path / str(moment) / "repository"
        # Triton serves no pipeline whose own folder has no version.
        if "shapes" in versions(repository):
            assert versions(repository) in (OLD, NEW)
        settle(MODELS, repository)
        seen.append(versions(repository))
        assert seen[-1] in (before, NEW)
        promote(write(tmp_path / str(moment) / "again", "newest"), repository)
        assert versions(repository) == NEWEST
        assert not [*repository.rglob(".*")]
    assert seen[0] == before and seen[-1] == NEW


def test_a_version_beside_another_leaves_that_one_alone(tmp_path: Path) -> None:
    write(tmp_path / "repository", "old")
    staged = {model: folder.rename(folder.with_name("2")) for model, folder in write(tmp_path / "s", "new").items()}
    (staged["shapes"] / "content").rename(tmp_path / "content")
    staged["shapes"].rmdir()
    with pytest.raises(FileNotFoundError):
        promote(staged, tmp_path / "repository")
    assert not [*(tmp_path / "repository").rglob("2"), *(tmp_path / "repository").rglob(".*")]
    staged = {model: folder.rename(folder.with_name("2")) for model, folder in write(tmp_path / "t", "new").items()}
    promote(staged, tmp_path / "repository")
    assert versions(tmp_path / "repository") == OLD
    assert [(tmp_path / "repository" / model / "2" / "content").read_text() for model in MODELS] == ["new"] * 3


def forget_versions(repository: Path) -> None:
    """As `conch new` leaves it: folders without versions."""
    for model in MODELS:
        (repository / model / "1" / "content").unlink()
        (repository / model / "1").rmdir()


def test_one_that_fails_brings_back_all_that_were_there(tmp_path: Path) -> None:
    write(tmp_path / "repository", "old")
    staged = write(tmp_path / "staging", "new")
    (staged["shapes"] / "content").unlink()
    staged["shapes"].rmdir()
    with pytest.raises(FileNotFoundError):
        promote(staged, tmp_path / "repository")
    assert versions(tmp_path / "repository") == OLD
    assert not [*(tmp_path / "repository").rglob(".*")]
