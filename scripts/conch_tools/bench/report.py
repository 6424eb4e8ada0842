"""A comparison on the screen: two tables that fit 80 columns, then what to know to believe them."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from conch_tools.bench.comparison import CONCH, LIMIT, Comparison, Measured


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The tables, how each contender ran, the machine, and whether the targets were reached."""
    console.print(_throughput(comparison))
    console.print(_batching(comparison))
    for measured in comparison.contenders:
        console.print(f"{measured.name}: {measured.setup}", highlight=False)
    console.print(f"{comparison.machine}; {comparison.texts}", highlight=False)
    console.print(_interference(comparison), highlight=False)
    for what, (reached, least) in comparison.verdicts().items():
        mark = "unsure" if comparison.is_noisy else "reached" if reached >= least else "MISSED"
        console.print(f"{mark}: {what} is {reached:.2f}, the target {least:.2f}", highlight=False)


def _throughput(comparison: Comparison) -> Table:
    rounds = len(comparison.conch.turns)
    table = Table(
        title=f"`embed` at concurrency {comparison.conch.concurrency}: "
        f"medians of {rounds} rounds of {comparison.seconds:g} s",
        highlight=False,
    )
    table.add_column("contender", no_wrap=True)
    for heading in ("req/s", "range", "of limit", "Conch is", "p50 ms", "p95 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for measured in comparison.contenders:
        table.add_row(*_row(comparison, measured))
    return table


def _row(comparison: Comparison, measured: Measured) -> list[str]:
    return [
        measured.name,
        _number(measured.median("requests_per_s"), 1),
        f"{min(measured.rates):.0f}-{max(measured.rates):.0f}",
        "" if measured.name == LIMIT else f"{comparison.of_limit(measured):.2f}",
        "" if measured.name == CONCH else f"{statistics.median(comparison.ratios(measured.name)):.2f} x",
        _number(measured.median("p50_ms"), 0),
        _number(measured.median("p95_ms"), 0),
    ]


def _batching(comparison: Comparison) -> Table:
    table = Table(title="Conch's batches, from Triton's own statistics", highlight=False)
    for heading in ("concurrency", "average batch", "requests/s", "p50 ms", "p95 ms"):
        table.add_column(heading, justify="right")
    for point in (comparison.conch, *comparison.alone):
        table.add_row(
            str(point.concurrency),
            _number(point.median("average_batch"), 2),
            _number(point.median("requests_per_s"), 1),
            _number(point.median("p50_ms"), 0),
            _number(point.median("p95_ms"), 0),
        )
    return table


def _interference(comparison: Comparison) -> str:
    """Who else took processor time: the generator, which shares the machine on purpose, and strangers."""
    everyone = (*comparison.contenders, *comparison.alone)
    generator = max(measured.median("generator_cores") or 0.0 for measured in everyone)
    said = f"The load generator took up to {generator:.2f} cores, other processes {comparison.others_cores:.2f}."
    return f"{said} That is noisy: measure again on a quiet machine." if comparison.is_noisy else said


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
