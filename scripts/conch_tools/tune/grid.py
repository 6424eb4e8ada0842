"""`conch bench grid`: every point of a stated part of the space, measured one by one.

A search that measures a quarter of the points proves itself only against somebody who measured them all. The grid is
the search's own space restricted to a few values, and is written to its file after every point, so that a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from conch_tools.errors import SettingsError
from conch_tools.files import command_line, now, write_whole
from conch_tools.machine import this_machine
from conch_tools.server.own import own_settings
from conch_tools.settings import Settings
from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.outcome import candidate_from_json, candidate_json, traffic_json
from conch_tools.tune.plan import Plan, load_plan
from conch_tools.tune.report import say
from conch_tools.tune.server import TuningServer
from conch_tools.tune.space import DELAY, PREFERRED, Bounds, Candidate, Knob, knobs, points
from conch_tools.tune.traffic import own_generator, requests_of

GRID_VALUES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    DELAY: ({"queue_delay_us": 0}, {"queue_delay_us": 2000}),
    PREFERRED: ({"preferred": ()}, {"preferred": (8,)}),
}
"""The values of these knobs that the grid has; of all others it has every value that the search has."""


@dataclass
class Grid:
    """What was measured so far, point by point."""

    pipeline: str
    concurrency: int
    seconds: float
    about: dict[str, Any]
    """Machine, date, command."""
    points: dict[Candidate, dict[str, Any]] = field(default_factory=dict)
    """Figures of each point, or why it was rejected."""

    @property
    def best_first(self) -> list[Candidate]:
        """The points that answered, by requests a second."""
        rates = {each: figures["requests_per_s"] for each, figures in self.points.items() if "rejected" not in figures}
        return sorted(rates, key=lambda candidate: rates[candidate], reverse=True)

    @classmethod
    def load(cls, file: Path, pipeline: str) -> Grid:
        """Raises SettingsError when the file cannot be read, or is no grid of this pipeline."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found = {candidate_from_json(each["settings"]): each["figures"] for each in content.pop("points")}
            grid = cls(content.pop("pipeline"), content.pop("concurrency"), content.pop("seconds"), content, found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise SettingsError(f"{file} is no grid that `conch bench grid` wrote: {problem!r}") from problem
        if grid.pipeline != pipeline:
            raise SettingsError(f"{file} is a grid of `{grid.pipeline}`, not of `{pipeline}`: name another file")
        return grid

    def save(self, file: Path) -> None:
        """Write the file whole or not at all."""
        told = {"pipeline": self.pipeline, "concurrency": self.concurrency, "seconds": self.seconds, **self.about}
        points = [
            json.dumps({"settings": candidate_json(each), "figures": figures}) for each, figures in self.points.items()
        ]
        # A line a point, so that a file of a hundred points can still be read.
        head = json.dumps(told, indent=1).removesuffix("\n}")
        write_whole(file, f'{head},\n "points": [\n' + ",\n".join(points) + "\n ]\n}\n")


def bench_grid(settings: Settings, name: str, concurrency: int, seconds: float, file: Path, console: Console) -> Grid:
    """Measure every point that `file` does not hold yet.

    Raises SettingsError for figures that nothing can be measured with, or a file that holds another grid.
    """
    if concurrency < 1 or not seconds > 0:
        raise SettingsError("--concurrency must be at least 1 and --seconds above zero")
    plan = load_plan(settings, name, settings.profile)
    grid = Grid.load(file, name) if file.exists() else Grid(name, concurrency, seconds, about_now())
    if (grid.concurrency, grid.seconds) != (concurrency, seconds):
        raise SettingsError(
            f"{file} was measured at concurrency {grid.concurrency}, {grid.seconds:g} s a point: "
            "go on with the same, or name another file"
        )
    wanted = points_of(plan, concurrency)
    left = [candidate for candidate in wanted if candidate not in grid.points]
    say(console, f"{len(wanted)} points, {len(left)} of them not measured yet")
    with measuring(settings, plan) as server:
        for number, candidate in enumerate(left, start=1):
            try:
                measured = server.measure(candidate, seconds, concurrency)
                others = round(measured.others_cores, 3)
                grid.points[candidate] = {**traffic_json(measured.traffic), "others_cores": others}
                told = f"{measured.traffic.requests_per_s:.1f} requests/s"
            except CandidateRejected as problem:
                grid.points[candidate] = {"rejected": str(problem)}
                told = f"rejected: {problem}"
            grid.save(file)
            say(console, f"{number} of {len(left)}: {candidate}: {told}")
    return grid


def points_of(plan: Plan, concurrency: int) -> list[Candidate]:
    """The grid of a pipeline; the steps that are quickest to load change most often."""
    steps = sorted(plan.current.steps, key=lambda step: step.threads is None)
    bounds = Bounds(len(os.sched_getaffinity(0)), concurrency, {})
    found = knobs(plan.current, bounds, [step.model for step in steps])
    return points(
        plan.current, [Knob(knob.name, knob.model, GRID_VALUES.get(knob.name, knob.values)) for knob in found]
    )


@contextlib.contextmanager
def measuring(settings: Settings, plan: Plan) -> Iterator[TuningServer]:
    """A server for a pipeline's plan with our own generator and the requests that tuning sends by default."""
    config = plan.base[plan.pipeline.name]
    inputs, _ = requests_of(plan.pipeline, config, None)
    generator = own_generator(config, inputs, settings.answer_timeout_s)
    with own_settings(settings, "tune") as own, TuningServer(own, plan, generator) as server:
        yield server


def about_now() -> dict[str, Any]:
    """What stands beside figures measured now."""
    return {"machine": this_machine().as_json(), "date": now(), "command": command_line()}
