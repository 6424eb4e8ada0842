"""`conch gpu-check` on this very machine: what it says, what it writes, and when it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError, WrongAnswers
from conch_tools.gpu_check.run import gpu_check
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def digits_alone(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """Settings for a repository of a test's own, with the pipeline `digits` as it is built."""
    repository = tmp_path / "repository"
    for folder in Settings().repository.glob("digits*"):
        shutil.copytree(folder, repository / folder.name)
    return make_settings(repository)


@pytest.fixture
def no_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking into every runtime takes seconds, and one test that does is enough."""
    monkeypatch.setattr("conch_tools.gpu_check.findings.find_runtimes", list)


def test_the_machine_is_described_and_every_sample_answered(
    digits_alone: Settings, run_conch: RunConch, tmp_path: Path
) -> None:
    output = tmp_path / "findings.json"
    done = run_conch("gpu-check", "--output", str(output), settings=digits_alone)
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    assert written["device"] in done.stdout
    [sample] = written["served"]["samples"]
    assert sample["pipeline"] == "digits" and sample["answer"].startswith("7 ")
    assert sample["first_ms"] > 0 and sample["median_ms"] > 0
    assert written["served"]["server"].startswith("triton 2.")
    assert next(each for each in written["runtimes"] if each["name"] == "onnxruntime")["version"]


def test_a_wrong_answer_fails_the_check_after_all_is_said(
    digits_alone: Settings, tmp_path: Path, no_runtimes: None
) -> None:
    pipeline = digits_alone.repository / "digits" / "pipeline.toml"
    pipeline.write_text(pipeline.read_text().replace('label = "7"', 'label = "3"'))
    output, said = tmp_path / "findings.json", list[str]()
    with pytest.raises(WrongAnswers, match=r"pipeline\.toml expects 3"):
        gpu_check(digits_alone, [], output, said.append)
    assert "pipeline.toml expects 3" in said[-1]
    assert json.loads(output.read_text())["served"]["samples"][0]["problem"]


def test_a_repository_without_anything_built_says_what_to_do(
    digits_alone: Settings, tmp_path: Path, no_runtimes: None
) -> None:
    shutil.rmtree(digits_alone.repository / "digits_model" / "1")
    output = tmp_path / "findings.json"
    with pytest.raises(RepositoryError, match="conch build"):
        gpu_check(digits_alone, [], output, lambda line: None)
    assert "conch build" in json.loads(output.read_text())["failure"]
