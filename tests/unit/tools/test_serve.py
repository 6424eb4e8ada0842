"""Holding a server: signals end it in order, and what cannot be served is refused before anything starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError, ServerFailed, SettingsError
from conch_tools.serve import (
    Stopped,
    StoppedEarly,
    _last_words,
    _signals_raise_stopped,
    hold,
    require_repository,
    require_sound,
    served_models,
)
from conch_tools.settings import Settings

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PIPELINE = """
task = "text-classification"
description = "Mood."
source = { folder = "." }
[[samples]]
input = { text = "fine" }
expect = { label = "good" }
"""


@pytest.fixture
def handlers_are_restored() -> Iterator[None]:
    """Whatever a test does to the signals, they are afterwards as before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers_are_restored")
@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops_and_later_ones_do_not_disturb_the_stopping(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Stopped) as stopped, _signals_raise_stopped():
        try:
            os.kill(os.getpid(), number)
        finally:
            for each in SIGNALS:
                os.kill(os.getpid(), each)
    assert stopped.value.number == number
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.usefixtures("handlers_are_restored")
def test_under_nohup_the_end_of_the_terminal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with _signals_raise_stopped():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("handlers_are_restored")
def test_in_the_background_of_a_script_an_interrupt_stops_all_the_same() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(Stopped), _signals_raise_stopped():
        os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_before_the_time_is_told_by_its_signal() -> None:
    early = StoppedEarly(signal.SIGINT)
    assert str(early) == "stopped by SIGINT before everything was up"
    assert early.exit_code == 130


class Server:
    """Stands in for a server: `wait` does what the test says."""

    def __init__(self, wait: Callable[[], int | None]) -> None:
        self._wait = wait

    def wait(self, timeout_s: float | None = None) -> int | None:
        return self._wait()


def test_holding_ends_when_a_signal_comes() -> None:
    def interrupted() -> int | None:
        raise Stopped(signal.SIGTERM)

    hold(Server(interrupted))  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "how"), [(1, "ended with exit code 1"), (-9, "was killed by SIGKILL")])
def test_a_server_that_ends_by_itself_is_a_failure(code: int, how: str) -> None:
    codes = iter([None, None, code])
    with pytest.raises(ServerFailed, match=f"tritonserver {how} though nobody stopped it"):
        hold(Server(lambda: next(codes)))  # type: ignore[arg-type]


def settings_for(repository: Path, **overrides: object) -> Settings:
    return Settings.model_validate({"repository": repository, "state": repository / ".conch", **overrides})


def add_model(repository: Path, name: str, files: str = "config.pbtxt") -> None:
    (repository / name).mkdir()
    (repository / name / files).write_text(PIPELINE if files == "pipeline.toml" else "")


def test_pipelines_are_served_by_name_and_a_repository_without_any_whole(tmp_path: Path) -> None:
    assert served_models(settings_for(tmp_path), []) == ["*"]
    add_model(tmp_path, "mood", "pipeline.toml")
    add_model(tmp_path, "moon", "pipeline.toml")
    assert served_models(settings_for(tmp_path), []) == ["mood", "moon"]
    assert served_models(settings_for(tmp_path), ["moon"]) == ["moon"]
    with pytest.raises(RepositoryError, match="did you mean `moon`"):
        served_models(settings_for(tmp_path), ["mooon"])


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
    (folder / "config.pbtxt").write_text(f'backend: "identity" input {tensor % "text"} output {tensor % "label"}')
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
        require_sound(settings_for(tmp_path), ["*"])
    lines = str(refused.value).splitlines()
    assert len(lines) == 7
    assert lines[-1] == f"and 4 more: conch check {tmp_path}"


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
