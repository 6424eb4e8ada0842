"""`conch bench heal`: what callers notice when a process of a server dies or hangs under load, for every kind of step.

A server of its own is started with `conch serve` and asked by callers without a pause. A moment later a process is
killed, or stopped, and the callers tell how much they were refused and when all of them were served again.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from conch_tools.bench.callers import SETTLED_S, Ask, Callers
from conch_tools.bench.deaths import How
from conch_tools.bench.errors import ContenderFailed
from conch_tools.bench.others import OthersLoad
from conch_tools.bench.victims import Victim, ask_pipeline, processes_of, tritonserver_of, victims
from conch_tools.errors import NotRunning, SettingsError
from conch_tools.files import command_line, now, write_json
from conch_tools.machine import package_versions, this_machine
from conch_tools.pipelines import Pipeline
from conch_tools.ready import ready
from conch_tools.serve import log_path, start_detached
from conch_tools.server.record import ServerRecord, stop_recorded
from conch_tools.settings import Settings

CALM_S = 3.0
"""Under load before something dies."""
POLL_S = 0.02
WELL_WITHIN_S = 60.0
VERSIONS = ("conch", "nvidia-pytriton", "onnxruntime", "numpy")
PIPELINES_OF_A_KILLED_SERVER = 2


@dataclass(frozen=True)
class Outage:
    """What callers saw of one death."""

    kind: str
    model: str
    how: How
    sent: int
    """Requests, each sending counted."""
    refused: int
    """Of them: what a caller sees who tries nothing again."""
    lost: int
    """Requests that failed although they were tried again."""
    repaired_s: float | None
    """Until there was a new process, or a new server."""
    full_service_s: float | None
    """Until every caller had been answered what it asked after the death, and nobody was refused any more."""
    before_ms: float | None
    """Median latency before the death."""
    after_ms: float | None
    """The same after full service."""
    others_cores: float
    """What other processes took of the machine until the death."""
    server_ended: bool = False
    """Whether tritonserver went along: it ends when a process dies with a lock of their shared memory in hand."""


@dataclass(frozen=True)
class _Case:
    """A process that is to die while callers ask."""

    kind: str
    model: str
    how: How
    asks: Sequence[Ask]
    repaired: re.Pattern[str]
    """The line of the log that tells of the repair."""

    def die(self, server: psutil.Process) -> None:
        """Let it happen, to the youngest process of a model with several. Raises ContenderFailed when there is none."""
        try:
            processes = [server] if self.how is How.SERVER else processes_of(server, self.model)
            if not processes:
                raise ContenderFailed(f"`{self.model}` has no process that could die")
            processes[-1].send_signal(self.how.signal)
        except psutil.NoSuchProcess as problem:
            raise ContenderFailed(f"a process of `{self.model}` ended before it was to die") from problem


def bench_heal(
    settings: Settings,
    seconds: float,
    concurrency: int,
    only: str | None,
    how: How | None,
    output: Path | None,
    console: Console,
) -> list[Outage]:
    """Measure, print the table, write JSON if asked.

    Raises SettingsError for figures that nothing can be measured with or a step that is not there, AlreadyRunning when
    a server of this checkout runs, ContenderFailed when the server does not get well before a death.
    """
    if seconds <= CALM_S or concurrency < 1:
        raise SettingsError(f"--seconds must be above {CALM_S:g}, --concurrency at least 1")
    chosen = victims(settings, only)
    outages = []
    for pipelines, cases in _plan([how] if how else list(How), chosen):
        with _served(settings, [pipeline.name for pipeline in pipelines]) as record:
            for case in cases:
                outages.append(_outage(case, settings, record, seconds, concurrency))
                console.print(f"conch: {_in_words(outages[-1])}", highlight=False, markup=False, soft_wrap=True)
    others_cores = statistics.fmean(each.others_cores for each in outages)
    for each in How:
        if died := [outage for outage in outages if outage.how is each]:
            console.print(outages_table(each, died))
    console.print(f"{this_machine()}; other processes took {others_cores:.2f} cores before the deaths", highlight=False)
    if output is not None:
        figures = _as_json(outages, seconds, concurrency, others_cores)
        write_json(output, figures)
    return outages


def outages_table(how: How, outages: Sequence[Outage]) -> Table:
    """One line a death, for one way to die; seconds until the repair and until full service."""
    table = Table(title=f"{how.value}: what callers noticed", highlight=False)
    table.add_column("step", no_wrap=True)
    for heading in ("sent", "refused", "lost", "repair s", "full s", "p50 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in outages:
        latencies = f"{_shown(each.before_ms, 0)} > {_shown(each.after_ms, 0)}"
        counts = (str(each.sent), str(each.refused), str(each.lost))
        table.add_row(each.model, *counts, _shown(each.repaired_s, 1), _shown(each.full_service_s, 1), latencies)
    return table


def _plan(hows: Sequence[How], chosen: Sequence[Victim]) -> Iterator[tuple[list[Pipeline], list[_Case]]]:
    """The servers that are needed, by the pipelines that they serve, and what is to die in each."""
    pipelines = sorted({each.pipeline.name: each.pipeline for each in chosen}.values(), key=lambda each: each.name)
    cases = [_step_case(each, how) for how in hows if how is not How.SERVER for each in chosen]
    if cases:
        yield pipelines, cases
    if How.SERVER in hows:
        served = pipelines[:PIPELINES_OF_A_KILLED_SERVER]
        ready_again = re.compile(r"tritonserver is ready again after")
        asks = [ask_pipeline(each) for each in served]
        yield served, [_Case("server", "tritonserver", How.SERVER, asks, ready_again)]


def _step_case(victim: Victim, how: How) -> _Case:
    loaded = re.compile(rf"model `{victim.model}` \([a-z ]+\): loaded anew in")
    return _Case(victim.backend, victim.model, how, [victim.ask()], loaded)


@contextlib.contextmanager
def _served(settings: Settings, pipelines: Sequence[str]) -> Iterator[ServerRecord]:
    record = start_detached(settings, pipelines)
    try:
        yield record
    finally:
        stop_recorded(settings)


def _outage(case: _Case, settings: Settings, record: ServerRecord, seconds: float, concurrency: int) -> Outage:
    """Let one process die under load."""
    _wait_until_well(settings)
    server = tritonserver_of(record.pid)
    if server is None:
        raise ContenderFailed("there is no tritonserver to be killed")
    log = log_path(settings)
    told = log.stat().st_size
    others = OthersLoad()
    with Callers(record.grpc, case.asks, concurrency) as callers:
        time.sleep(CALM_S)
        others_cores = others.cores()
        case.die(server)
        died = time.monotonic()
        ends = died + seconds - CALM_S
        repaired = None
        while repaired is None and time.monotonic() < ends:
            time.sleep(POLL_S)
            if case.repaired.search(_text_since(log, told)):
                repaired = time.monotonic()
        time.sleep(max(0.0, ends - time.monotonic()))
    seen = callers.seen
    full = seen.full_service(died)
    return Outage(
        kind=case.kind,
        model=case.model,
        how=case.how,
        sent=seen.sent,
        refused=len(seen.refused),
        lost=len(seen.lost),
        repaired_s=None if repaired is None else repaired - died,
        full_service_s=None if full is None else full - died,
        before_ms=_ms(seen.median_latency_s(died - SETTLED_S, died)),
        after_ms=None if full is None else _ms(seen.median_latency_s(full, full + SETTLED_S)),
        others_cores=others_cores,
        server_ended=case.how is not How.SERVER and tritonserver_of(record.pid) != server,
    )


def _text_since(log: Path, offset: int) -> str:
    """What was written to a log behind its first `offset` bytes."""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _wait_until_well(settings: Settings) -> None:
    deadline = time.monotonic() + WELL_WITHIN_S
    while True:
        try:
            ill = [line for line, well in ready(settings, []) if not well]
        except NotRunning as problem:
            # The health endpoint comes up a moment after the server.
            ill = [str(problem)]
        if not ill:
            return
        if time.monotonic() > deadline:
            raise ContenderFailed("; ".join(ill))
        time.sleep(POLL_S)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _shown(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _in_words(outage: Outage) -> str:
    full = "never" if outage.full_service_s is None else f"after {outage.full_service_s:.1f} s"
    along = ", tritonserver ended with it" if outage.server_ended else ""
    return (
        f"{outage.model}, {outage.how.value}{along}: {outage.refused} of {outage.sent} refused, {outage.lost} lost, "
        f"full service {full}"
    )


def _as_json(outages: Sequence[Outage], seconds: float, concurrency: int, others_cores: float) -> dict[str, object]:
    return {
        "command": command_line(),
        "date": now(),
        "machine": this_machine().as_json(),
        "versions": package_versions(VERSIONS),
        "others_cores": others_cores,
        "seconds": seconds,
        "concurrency": concurrency,
        "outages": [asdict(each) for each in outages],
    }
