"""`conch bench tune`: the settings of a profile against the best of a grid, in turns in one run.

What won a single turn of a grid owes a part of that to luck, and a machine is faster in one hour than in another. So
the best few points of the grid are measured again, in turns with the tuning's choice, and medians are compared.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from conch_tools.errors import SettingsError
from conch_tools.files import write_json
from conch_tools.settings import Settings
from conch_tools.tune.figures import Measurement, Traffic
from conch_tools.tune.grid import Grid, about_now, measuring
from conch_tools.tune.outcome import candidate_json, median_traffic, traffic_json
from conch_tools.tune.plan import load_plan
from conch_tools.tune.report import say
from conch_tools.tune.space import Candidate

COMPARED = 3
"""The best points of the grid that are measured again."""
TARGET = 0.97
"""What a tuning's choice is to reach, at least, of the best of them."""
NOW = "now"


@dataclass(frozen=True)
class Entry:
    """One of those compared, with a turn a round."""

    name: str
    candidate: Candidate
    turns: list[Measurement] = dataclasses.field(default_factory=list)

    @property
    def median(self) -> Traffic:
        """Medians of its turns."""
        return median_traffic([each.traffic for each in self.turns])


def bench_tune(
    settings: Settings,
    name: str,
    profile: str,
    grid_file: Path,
    rounds: int,
    seconds: float,
    console: Console,
    output: Path | None,
) -> float:
    """Measure, print the table, write JSON if asked; the profile's requests a second as a part of the best's.

    Raises SettingsError for a file that is no grid of the pipeline, CandidateRejected when one of them fails.
    """
    if rounds < 1 or not seconds > 0:
        raise SettingsError("--rounds must be at least 1 and --seconds above zero")
    grid = Grid.load(grid_file, name)
    plan = load_plan(settings, name, settings.profile)
    tuned = load_plan(settings, name, profile).current
    best = grid.best_first[:COMPARED]
    if not best:
        raise SettingsError(f"{grid_file} holds no point that answered: run `conch bench grid {name}` first")
    entries = [Entry(NOW, plan.current), Entry(f"profile {profile}", tuned)]
    entries += [Entry(f"grid, place {place}", candidate) for place, candidate in enumerate(best, start=1)]
    with measuring(settings, plan) as server:
        for number in range(rounds):
            for entry in entries if number % 2 == 0 else reversed(entries):
                entry.turns.append(server.measure(entry.candidate, seconds, grid.concurrency))
                rate = entry.turns[-1].traffic.requests_per_s
                say(console, f"round {number + 1} of {rounds}: {entry.name}: {rate:.1f} requests/s")
    ratio = entries[1].median.requests_per_s / max(entry.median.requests_per_s for entry in entries[2:])
    console.print(
        _table(f"`{name}` at concurrency {grid.concurrency}: medians of {rounds} turns of {seconds:g} s", entries)
    )
    others = statistics.median(turn.others_cores for entry in entries for turn in entry.turns)
    say(
        console, f"{'reached' if ratio >= TARGET else 'MISSED'}: {ratio:.3f} of the grid's best, the target is {TARGET}"
    )
    say(console, f"{len(grid.points)} points in the grid; other processes took {others:.2f} cores")
    if output is not None:
        content = {**about_now(), "pipeline": name, "concurrency": grid.concurrency, "seconds": seconds, "ratio": ratio}
        content |= {"others_cores": round(others, 3), "entries": [_json(entry) for entry in entries]}
        write_json(output, content)
    return ratio


def _table(title: str, entries: Sequence[Entry]) -> Table:
    table = Table(title=title, highlight=False)
    table.add_column("settings")
    for heading in ("req/s", "range", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        median, rates = entry.median, [turn.traffic.requests_per_s for turn in entry.turns]
        steps = "; ".join(f"{step.model}: {step}" for step in entry.candidate.steps)
        table.add_row(
            f"{entry.name}: {steps}",
            f"{median.requests_per_s:.1f}",
            f"{min(rates):.0f}-{max(rates):.0f}",
            f"{median.p50_ms:.0f}",
            f"{median.p99_ms:.0f}",
        )
    return table


def _json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "settings": candidate_json(entry.candidate),
        "median": traffic_json(entry.median),
        "turns": [traffic_json(turn.traffic) for turn in entry.turns],
    }
