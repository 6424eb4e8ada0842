"""A tuning on the screen: before and after in a table, then what to know to believe it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from conch_tools.tune.outcome import Outcome

BEFORE, AFTER = "before", "after"


def say(console: Console, line: str) -> None:
    """A line of progress, as it is."""
    console.print(f"conch: {line}", highlight=False, markup=False, soft_wrap=True)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """The verdict, the table, the machine, and who else used it."""
    told = outcome.circumstances
    before, after = outcome.final(outcome.before), outcome.final(outcome.after)
    for candidate, reason in outcome.findings.rejected.items():
        say(console, f"rejected: {candidate}: {reason}")
    if outcome.changed:
        say(console, f"chosen: {outcome.after}")
        say(
            console,
            f"at concurrency {told.concurrency}: {before.requests_per_s:.1f} → {after.requests_per_s:.1f} requests/s "
            f"({outcome.gain - 1:+.1%}), p99 {before.p99_ms:.0f} → {after.p99_ms:.0f} ms",
        )
    else:
        say(console, f"nothing beats the settings that there are: {outcome.before}")
    limit = told.objective.latency_limit_ms
    if limit is not None and after.p99_ms > limit:
        say(console, f"no settings kept p99 within {limit:g} ms: raise --latency-limit-ms, or lower --concurrency")
    console.print(_table(outcome))
    say(
        console,
        f"{told.machine}; {told.requests}, sent by {told.generator}; {outcome.findings.turns} turns in "
        f"{outcome.seconds:.0f} s{'' if outcome.findings.complete else ', in which not every setting could be tried'}",
    )
    if outcome.is_noisy:
        say(
            console,
            f"Other processes took {outcome.others_cores:.2f} cores. That is noisy: tune again on a quiet machine.",
        )


def _table(outcome: Outcome) -> Table:
    table = Table(title=f"`{outcome.circumstances.pipeline}`: throughput against latency", highlight=False)
    for heading in (
        "in flight",
        *(f"{name} {what}" for name in outcome.curves for what in ("req/s", "p50 ms", "p99 ms")),
    ):
        table.add_column(heading, justify="right")
    for points in zip(*outcome.curves.values(), strict=True):
        row = [str(points[0].concurrency)]
        for point in points:
            row += [f"{point.requests_per_s:.1f}", f"{point.p50_ms:.1f}", f"{point.p99_ms:.1f}"]
        table.add_row(*row)
    return table
