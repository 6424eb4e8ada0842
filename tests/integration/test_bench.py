"""`conch bench peers` end to end, as small as it gets: everyone starts, answers rightly, is measured and is gone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from conch_tools.bench.comparison import CONCH, LIMIT
from conch_tools.bench.contenders import LARGEST_DIFFERENCE
from conch_tools.bench.peers import bench_peers
from conch_tools.errors import SettingsError
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]


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
