"""`conch bench` end to end, as small as it gets: everyone starts, is measured and is gone."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from conch_tools.bench.comparison import CONCH, LIMIT
from conch_tools.bench.contenders import LARGEST_DIFFERENCE
from conch_tools.bench.peers import bench_peers
from conch_tools.errors import SettingsError
from conch_tools.server.record import ServerRecord
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]


def test_one_short_round_measures_everyone(make_settings: MakeSettings, tmp_path: Path) -> None:
    screen, output = io.StringIO(), tmp_path / "figures.json"
    settings = make_settings(Settings().repository, start_timeout_s=120.0)
    console = Console(file=screen, width=80)

    bench_peers(settings, 0.5, 1, 2, output, console, corpus_size=8)

    written = json.loads(output.read_text())
    assert [each["name"] for each in written["contenders"]] == [LIMIT, CONCH, "FastAPI", "LitServe"]
    turns = [turn for each in written["contenders"] for turn in each["rounds"]]
    assert len(turns) == 4
    assert all(turn["requests_per_s"] > 0 for turn in turns)
    assert all(turn["largest_difference"] <= LARGEST_DIFFERENCE for turn in turns)
    assert 1 <= written["contenders"][1]["rounds"][0]["average_batch"] <= 2
    assert [each["concurrency"] for each in written["conch_alone"]] == [4]
    assert "LitServe" in screen.getvalue()
    services = [
        process
        for process in psutil.Process().children(recursive=True)
        if "conch_tools.bench" in " ".join(process.cmdline())
    ]
    assert not services


@pytest.mark.parametrize(("seconds", "rounds", "concurrency"), [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
def test_figures_that_measure_nothing_are_refused(
    make_settings: MakeSettings, seconds: float, rounds: int, concurrency: int
) -> None:
    settings = make_settings(Settings().repository)
    with pytest.raises(SettingsError, match="--rounds"):
        bench_peers(settings, seconds, rounds, concurrency, None, Console(file=io.StringIO()))


def test_a_death_is_measured_and_no_server_is_left(
    make_settings: MakeSettings, run_conch: RunConch, tmp_path: Path
) -> None:
    settings, output = make_settings(Settings().repository), tmp_path / "figures.json"
    options = ("--seconds=9", "--concurrency=4", "--only=class_labels", "--how=kill", f"--output={output}")
    done = run_conch("bench", "heal", *options, settings=settings)
    assert done.returncode == 0, done.stderr
    assert "kill: what callers noticed" in done.stdout
    (outage,) = json.loads(output.read_text())["outages"]
    assert (outage["kind"], outage["model"], outage["how"]) == ("class_labels", "digits_labels", "kill")
    assert outage["lost"] == 0
    assert outage["sent"] > outage["refused"] > 0, "the death was noticed"
    assert ServerRecord.read(settings) is None


def test_a_step_that_is_not_there_is_not_measured(make_settings: MakeSettings, run_conch: RunConch) -> None:
    done = run_conch("bench", "heal", "--only=labels", settings=make_settings(Settings().repository))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("conch: there is no step `labels`; kinds of steps are: ")
