"""`conch tune PIPELINE`: measure, search, explain, write a profile, show before and after."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from conch_tools.errors import SettingsError
from conch_tools.files import command_line, now, require_writable, write_json, write_whole
from conch_tools.machine import this_machine
from conch_tools.serve import require_sound
from conch_tools.server.own import own_settings
from conch_tools.settings import Settings
from conch_tools.signals import Stopped
from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.explain import bottleneck, busiest_first, finding
from conch_tools.tune.figures import Measurement, Traffic
from conch_tools.tune.outcome import Circumstances, Outcome
from conch_tools.tune.perf_analyzer import PERF_ANALYZER, perf_analyzer
from conch_tools.tune.plan import Plan, load_plan
from conch_tools.tune.plot import throughput_against_latency
from conch_tools.tune.profile import MARK, Profile
from conch_tools.tune.report import AFTER, BEFORE, print_outcome, say
from conch_tools.tune.search import FINAL_ROUNDS, FINALISTS, Objective, Search
from conch_tools.tune.server import TuningServer
from conch_tools.tune.space import Bounds, Candidate, knobs
from conch_tools.tune.traffic import WARM_UP_S, Address, ClosedLoop, Generator, own_generator, requests_of

OWN_GENERATOR = ClosedLoop.name
GENERATORS = (OWN_GENERATOR, PERF_ANALYZER)
TURNS_A_BUDGET = 200
"""A turn's measured time is this part of the whole time, within the two bounds that follow."""
SHORTEST_TURN_S, LONGEST_TURN_S = 0.5, 3.0
LATENCIES_A_TURN, LONGEST_SLOW_TURN_S = 10, 12.0
"""A slow pipeline gets longer turns: so many times the latency in the middle, up to a bound."""
LARGEST_RESERVE = 0.4
"""Part of the whole time that is kept for the final rounds and the curves, at most."""
MOST_FINAL_ROUNDS = 5
TURNS_REMEMBERED = 4
QUICK_S = 120.0
"""Under this, the curves have two points only."""


@dataclass(frozen=True)
class TuneOptions:
    """What is tuned, for what, and how long it may take."""

    pipeline: str
    profile: str
    concurrency: int = 16
    latency_limit_ms: float | None = None
    minutes: float = 10.0
    generator: str = OWN_GENERATOR
    requests: Path | None = None
    """A file with a request a line; by default mixed texts, or the pipeline's samples."""
    dry_run: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        """Raises SettingsError for values that nothing can be measured with."""
        if self.concurrency < 1 or not 0 < self.minutes < math.inf:
            raise SettingsError("--concurrency must be at least 1 and --minutes a number above zero")
        if self.latency_limit_ms is not None and not self.latency_limit_ms > 0:
            raise SettingsError("--latency-limit-ms must be above zero; leave it out for no limit")
        if self.generator not in GENERATORS:
            raise SettingsError(f"--generator is one of {', '.join(GENERATORS)}, not {self.generator!r}")


def tune(
    settings: Settings, options: TuneOptions, console: Console, output: Path | None = None, plot: Path | None = None
) -> Outcome:
    """Tune one pipeline: print what is found, write the profile and the plot, and JSON if asked.

    Stopped by a signal it shows the best so far and writes nothing. Raises SettingsError, RepositoryError,
    NothingToTune, ProfileTaken, ServerFailed, or CandidateRejected when the settings that there are fail.
    """
    if settings.profile == options.profile:
        raise SettingsError(f"CONCH_PROFILE is `{options.profile}` already: name another --profile to write")
    plan = load_plan(settings, options.pipeline, settings.profile)
    profile = Profile(options.profile, settings.repository, tuple(plan.base))
    if not options.dry_run:
        profile.require_writable(options.force)
    settings.state.mkdir(parents=True, exist_ok=True)
    picture = plot or settings.state / f"tune-{options.pipeline}.svg"
    require_writable(picture)
    with own_settings(settings, "tune") as own:
        outcome = _Tuning(own, options, plan, console).run()
    print_outcome(outcome, console)
    if output is not None:
        write_json(output, outcome.as_json())
    if all(outcome.curves.values()):
        machine = outcome.circumstances.machine
        title = f"{options.pipeline} on {machine.cpu}, {machine.cores} cores"
        write_whole(picture, throughput_against_latency(outcome.curves, title))
        say(console, f"plot: {picture}")
    if not options.dry_run:
        _write(profile, plan, outcome, settings, console)
    return outcome


class _Tuning:
    """One run, from the server's start to its stop."""

    def __init__(self, settings: Settings, options: TuneOptions, plan: Plan, console: Console) -> None:
        self._options, self._plan, self._console = options, plan, console
        self._budget_s = options.minutes * 60
        self._started = time.monotonic()
        self._turn_s = min(max(self._budget_s / TURNS_A_BUDGET, SHORTEST_TURN_S), LONGEST_TURN_S)
        self._turn_costs_s: deque[float] = deque(maxlen=TURNS_REMEMBERED)
        config = plan.base[options.pipeline]
        inputs, told = requests_of(plan.pipeline, config, options.requests)
        generator: Callable[[Address], Generator] = own_generator(config, inputs, settings.answer_timeout_s)
        if options.generator == PERF_ANALYZER:
            generator = perf_analyzer(config, inputs)
        self._server = TuningServer(settings, plan, generator)
        objective = Objective(options.latency_limit_ms)
        self._search = Search(plan.current, self._measure, objective, lambda race: self._say(finding(race)))
        self._circumstances = Circumstances(
            pipeline=options.pipeline,
            machine=this_machine(),
            date=now(),
            command=command_line(),
            requests=told,
            generator=options.generator,
            concurrency=options.concurrency,
            objective=objective,
        )

    def run(self) -> Outcome:
        """Search, decide, and measure before and after at several concurrencies."""
        try:
            with self._server:
                self._explore()
                rounds = int((self._left_s() - self._curves_s()) / (self._turn_cost_s * (FINALISTS + 1)))
                self._say("the best of them side by side with the settings that there are")
                chosen = self._search.decide(min(max(rounds, 1), MOST_FINAL_ROUNDS))
                curves = self._curves(chosen)
        except Stopped:
            self._say(f"the best so far: {self._search.best}; nothing was written")
            raise
        seconds = time.monotonic() - self._started
        return Outcome(self._circumstances, self._plan.current, chosen, self._search.findings, curves, seconds)

    def _explore(self) -> None:
        self._say(f"now: {self._plan.current}")
        first = self._measure(self._plan.current)
        traffic = first.traffic
        self._say(
            f"{traffic.requests_per_s:.1f} requests/s at concurrency {traffic.concurrency}, "
            f"p50 {traffic.p50_ms:.1f} ms, p99 {traffic.p99_ms:.1f} ms"
        )
        own = [step.model for step in self._plan.current.steps]
        self._say(bottleneck(first, own))
        self._turn_s = max(self._turn_s, min(LATENCIES_A_TURN * traffic.p50_ms / 1e3, LONGEST_SLOW_TURN_S))
        bounds = Bounds(self._circumstances.machine.cores, self._options.concurrency, self._server.most_instances())
        self._search.run(knobs(self._plan.current, bounds, busiest_first(first, own)), self._has_time)

    def _measure(self, candidate: Candidate) -> Measurement:
        started = time.monotonic()
        try:
            return self._server.measure(candidate, self._turn_s, self._options.concurrency)
        finally:
            self._turn_costs_s.append(time.monotonic() - started)

    @property
    def _turn_cost_s(self) -> float:
        """What one turn takes now, loading and warm-up included."""
        return max(self._turn_costs_s)

    def _curves(self, chosen: Candidate) -> dict[str, list[Traffic]]:
        """Where one of them fails, neither has a point."""
        named = {BEFORE: self._plan.current, **({AFTER: chosen} if chosen != self._plan.current else {})}
        curves: dict[str, dict[int, Traffic]] = {name: {} for name in named}
        for name, candidate in named.items():
            for concurrency in self._concurrencies():
                try:
                    curves[name][concurrency] = self._server.measure(candidate, self._turn_s, concurrency).traffic
                except CandidateRejected as problem:
                    self._say(f"no point at {concurrency} in flight: {problem}")
        common = [each for each in self._concurrencies() if all(each in curve for curve in curves.values())]
        return {name: [curve[each] for each in common] for name, curve in curves.items()}

    def _concurrencies(self) -> list[int]:
        most = self._options.concurrency
        chosen = (1, most) if self._budget_s < QUICK_S else (1, most // 4, most // 2, most, 2 * most)
        return sorted({each for each in chosen if each})

    def _curves_s(self) -> float:
        return 2 * len(self._concurrencies()) * (self._turn_s + WARM_UP_S) + 2 * self._turn_cost_s

    def _left_s(self) -> float:
        return self._started + self._budget_s - time.monotonic()

    def _has_time(self) -> bool:
        final_s = (FINALISTS + 1) * FINAL_ROUNDS * self._turn_cost_s + self._curves_s()
        return self._left_s() > self._turn_cost_s + min(final_s, LARGEST_RESERVE * self._budget_s)

    def _say(self, line: str) -> None:
        say(self._console, line)


def _write(profile: Profile, plan: Plan, outcome: Outcome, settings: Settings, console: Console) -> None:
    written = profile.write(plan.configs(outcome.after), _header(profile.name, outcome))
    for file in written:
        say(console, f"written: {file}")
    if written:
        require_sound(settings.model_copy(update={"profile": profile.name}), list(plan.base))
        say(console, f"serve it: conch serve --profile {profile.name}")


def _header(profile: str, outcome: Outcome) -> str:
    told, before, after = outcome.circumstances, outcome.final(outcome.before), outcome.final(outcome.after)
    lines = [
        f"{MARK} {told.pipeline} --profile {profile}`; the next tuning replaces this file.",
        f"# {told.date}, {told.machine}.",
        f"# At concurrency {told.concurrency}, {told.requests}: {after.requests_per_s:.1f} requests/s, "
        f"p99 {after.p99_ms:.0f} ms; before {before.requests_per_s:.1f} and {before.p99_ms:.0f} ms.",
        *(f"# {step.model}: {step}" for step in outcome.after.steps),
    ]
    # A file of requests may have any name: nothing of it leaves the comment.
    return "".join(f"{' '.join(line.split())}\n" for line in lines)
