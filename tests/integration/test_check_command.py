"""`conch check` as a CI job and a pre-commit hook use it: what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conch_tools.check.examples import sound_repository, write_repository
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).parents[2]
COMMAND_LIMIT_S = 60


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A sound repository of somebody else, in a project that has no backends."""
    write_repository(sound_repository(), tmp_path / "project" / "models")
    return tmp_path / "project" / "models"


@pytest.fixture
def conch_check(run_conch: RunConch, make_settings: MakeSettings, models: Path) -> RunConch:
    """Run `conch check` over that repository."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return run_conch("check", str(models), *options, settings=make_settings(models.parent / "none"))

    return run


def spoil(models: Path, file: str, before: str, after: str) -> Path:
    path = models / file
    assert path.read_text().count(before) == 1
    path.write_text(path.read_text().replace(before, after))
    return path


def test_a_sound_repository_passes(conch_check: RunConch) -> None:
    done = conch_check("--strict")
    assert (done.returncode, done.stdout) == (0, "no faults found\n")


def test_errors_fail_the_check_unless_they_are_ignored(conch_check: RunConch, models: Path) -> None:
    spoil(models, "topics/config.pbtxt", '"topics_scores"', '"topic_scores"')
    failed = conch_check()
    assert failed.returncode == 1
    assert failed.stdout.splitlines()[0].endswith(
        "models/topics/config.pbtxt:13: ENS012 error: model `topic_scores` of step 0 is not in the repository"
    )
    assert conch_check("--ignore", "ENS").returncode == 0
    assert conch_check("--select", "CFG,ENS012").returncode == 1


def test_warnings_fail_a_strict_check_only(conch_check: RunConch, models: Path) -> None:
    (models / "notes").mkdir()
    assert conch_check().returncode == 0
    assert conch_check("--strict").returncode == 1


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_programs_get_one_document_whatever_is_found(conch_check: RunConch, models: Path, form: str) -> None:
    sound = conch_check("--format", form)
    assert sound.returncode == 0 and json.loads(sound.stdout) is not None
    spoil(models, "embed/config.pbtxt", "max_batch_size", "max_batchsize")
    failed = conch_check("--format", form)
    assert failed.returncode == 1
    assert "CFG001" in json.dumps(json.loads(failed.stdout))


@pytest.mark.parametrize("options", [["--select", "XYZ"], ["--explain", "XYZ000"], ["--format", "xml"], ["nowhere"]])
def test_wrong_use_is_no_finding(conch_check: RunConch, options: list[str]) -> None:
    done = conch_check(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_rule_is_explained_without_a_repository(conch_check: RunConch) -> None:
    done = conch_check("--explain", "CFG015")
    assert done.returncode == 0
    assert done.stdout.startswith("CFG015 (warning): A queue policy")


def run_hook(project: Path, *changed: str) -> subprocess.CompletedProcess[str] | None:
    """Do as pre-commit does: run the hook's entry with the changed files that it asks for, if there are any."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    files = [file for file in changed if re.search(hook["files"], file)]
    if not files:
        return None
    command, *arguments = shlex.split(hook["entry"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONCH_")}
    return subprocess.run(
        [str(Path(sys.executable).parent / command), *arguments, *files],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
    )


def test_the_hook_finds_what_a_changed_file_breaks_in_its_repository(models: Path) -> None:
    spoil(models, "sentiment_tokenize/config.pbtxt", '"length"', '"lengths"')
    done = run_hook(models.parent, "readme.md", "models/sentiment_tokenize/config.pbtxt")
    assert done is not None and done.returncode == 1
    # The fault shows in the ensemble, which was not changed.
    assert done.stdout.splitlines()[0].startswith(
        "models/sentiment/config.pbtxt:16: ENS015 error: `length` is no output"
    )


@pytest.mark.parametrize(
    "changed",
    [
        "models/embed/config.pbtxt",
        "models/embed/configs/gpu.pbtxt",
        "models/embed/1/model.py",
        "models/topics/pipeline.toml",
    ],
)
def test_the_hook_lets_sound_changes_pass(models: Path, changed: str) -> None:
    done = run_hook(models.parent, changed)
    assert done is not None
    assert (done.returncode, done.stdout) == (0, "no faults found\n")


def test_the_hook_does_not_ask_for_what_is_no_part_of_a_model(models: Path) -> None:
    assert run_hook(models.parent, "readme.md", "src/app.py", "docs/1.md", "pyproject.toml") is None
