"""A grid's file goes on where it was left, and belongs to one pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.errors import SettingsError
from conch_tools.tune.grid import Grid
from conch_tools.tune.space import Candidate

MODEL = "pipe_model"


@pytest.fixture
def grid(start: Candidate) -> Grid:
    rates = {start: 300.0, start.changed(MODEL, {"instances": 2, "preferred": (8,)}): 400.0}
    points = {candidate: {"requests_per_s": rate} for candidate, rate in rates.items()}
    rejected = {start.changed(MODEL, {"instances": 4}): {"rejected": "out of memory"}}
    return Grid("pipe", 16, 3.0, {"date": "2026-01-01"}, {**points, **rejected})


def test_what_was_written_is_read(grid: Grid, tmp_path: Path) -> None:
    grid.save(tmp_path / "grid.json")
    assert Grid.load(tmp_path / "grid.json", "pipe") == grid
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


def test_the_best_come_first_and_what_was_rejected_not_at_all(grid: Grid, start: Candidate) -> None:
    assert grid.best_first == [start.changed(MODEL, {"instances": 2, "preferred": (8,)}), start]


def test_a_grid_of_another_pipeline_is_refused(grid: Grid, tmp_path: Path) -> None:
    grid.save(tmp_path / "grid.json")
    with pytest.raises(SettingsError, match="is a grid of `pipe`, not of `other`"):
        Grid.load(tmp_path / "grid.json", "other")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pipeline": "pipe", "points": [{}]}', "7", '{"points": 3}'])
def test_a_file_that_is_no_grid_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "grid.json").write_text(content)
    with pytest.raises(SettingsError, match="is no grid"):
        Grid.load(tmp_path / "grid.json", "pipe")
