"""Serving: signals end it in order, and what cannot be served is refused before anything starts."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError, SettingsError
from conch_tools.serve import (
    StoppedEarly,
    _last_words,
    require_repository,
    require_sound,
    served_models,
    served_pipelines,
)
from conch_tools.settings import Settings

PIPELINE = """
task = "text-classification"
description = "Mood."
source = { folder = "." }
[[samples]]
input = { text = "fine" }
expect = { label = "good" }
"""


def test_a_stop_before_the_time_is_told_by_its_signal() -> None:
    early = StoppedEarly(signal.SIGINT)
    assert str(early) == "stopped by SIGINT before everything was up"
    assert early.exit_code == 130


def settings_for(repository: Path, **overrides: object) -> Settings:
    return Settings.model_validate({"repository": repository, "state": repository / ".conch", **overrides})


def add_model(repository: Path, name: str, files: str = "config.pbtxt") -> None:
    (repository / name).mkdir()
    (repository / name / files).write_text(PIPELINE if files == "pipeline.toml" else "")


def test_pipelines_are_served_by_name_and_a_repository_without_any_whole(tmp_path: Path) -> None:
    for name in ("sad", "glad", ".git"):
        add_model(tmp_path, name)

    def models(*only: str) -> list[str]:
        settings = settings_for(tmp_path)
        return served_models(settings, served_pipelines(settings, only))

    assert models() == ["glad", "sad"]
    add_model(tmp_path, "mood", "pipeline.toml")
    add_model(tmp_path, "moon", "pipeline.toml")
    assert models() == ["mood", "moon"]
    assert models("moon") == ["moon"]
    with pytest.raises(RepositoryError, match="did you mean `moon`"):
        models("mooon")


def test_only_what_is_served_must_be_sound(tmp_path: Path) -> None:
    for name in ("mood", "mood_labels", "other"):
        add_model(tmp_path, name)
    (tmp_path / "mood_labels" / "config.pbtxt").write_text("no_such_field: 1")
    require_sound(settings_for(tmp_path), ["quiet"])
    with pytest.raises(RepositoryError) as refused:
        require_sound(settings_for(tmp_path), ["mood"])
    assert f"{tmp_path / 'mood_labels' / 'config.pbtxt'}:1: " in str(refused.value)
    assert "other" not in str(refused.value)


@pytest.fixture
def sound_model(tmp_path: Path) -> Path:
    """The folder of a model `mood` in which there is nothing to find."""
    folder = tmp_path / "mood"
    (folder / "1").mkdir(parents=True)
    tensor = '{ name: "%s" data_type: TYPE_STRING dims: 1 }'
    (folder / "config.pbtxt").write_text(
        f'backend: "series_forecast" input {tensor % "text"} output {tensor % "label"}'
    )
    return folder


def test_only_the_profile_that_is_served_is_judged(tmp_path: Path, sound_model: Path) -> None:
    (sound_model / "configs").mkdir()
    (sound_model / "configs" / "gpu.pbtxt").write_text("no_such_field: 1")
    require_sound(settings_for(tmp_path), ["mood"])
    with pytest.raises(RepositoryError, match=r"configs/gpu\.pbtxt:1: "):
        require_sound(settings_for(tmp_path, profile="gpu"), ["mood"])


def test_a_server_runs_without_what_only_builds_and_samples_need(tmp_path: Path, sound_model: Path) -> None:
    (sound_model / "pipeline.toml").write_text(PIPELINE.replace("{ label", "{ mood"))
    require_sound(settings_for(tmp_path), ["mood"])


def test_many_findings_are_cut_short_with_the_command_that_shows_all(tmp_path: Path) -> None:
    for number in range(9):
        add_model(tmp_path, f"broken{number}")
        (tmp_path / f"broken{number}" / "config.pbtxt").write_text("no_such_field: 1")
    with pytest.raises(RepositoryError) as refused:
        require_sound(settings_for(tmp_path), [f"broken{number}" for number in range(9)])
    lines = str(refused.value).splitlines()
    assert len(lines) == 7
    assert lines[-1] == f"and 4 more: conch check {tmp_path}"


def test_a_repository_must_be_a_folder_with_models(tmp_path: Path) -> None:
    cure = "set CONCH_REPOSITORY to a folder that holds one folder a model"
    empty, file = tmp_path / "empty", tmp_path / "file"
    (empty / ".git").mkdir(parents=True)
    file.touch()
    for repository, said in {
        tmp_path / "nowhere": f"there is no model repository at {tmp_path / 'nowhere'}: {cure}",
        file: f"{file} is a file, no model repository: {cure}",
        empty: f"the model repository {empty} is empty: {cure}",
    }.items():
        with pytest.raises(RepositoryError) as refused:
            require_repository(settings_for(repository, state=tmp_path / "state"))
        assert str(refused.value) == said


def test_a_profile_must_belong_to_a_model(tmp_path: Path) -> None:
    (tmp_path / "mood" / "configs").mkdir(parents=True)
    (tmp_path / "mood" / "configs" / "gpu.pbtxt").touch()
    require_repository(settings_for(tmp_path, profile="gpu"))
    with pytest.raises(SettingsError, match=r"has a profile `gpus` \(configs/gpus\.pbtxt\); there is gpu$"):
        require_repository(settings_for(tmp_path, profile="gpus"))


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("I1120 triton\nconch: port 8000 is taken\n", "port 8000 is taken"),
        ("conch: refused:\nmodel `a`: broken\nmodel `b`: broken\n", "refused:\nmodel `a`: broken\nmodel `b`: broken"),
        ("", "the server ended without a word"),
        ("Killed\n", "Killed"),
    ],
)
def test_a_detached_server_is_quoted_with_its_last_message(tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "log").write_text(log)
    assert _last_words(tmp_path / "log") == words
