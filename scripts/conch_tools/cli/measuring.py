"""Commands that measure: what is fastest here, against others, and what callers notice when something dies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conch_tools.bench.deaths import How
from conch_tools.cli.app import Output, app, bench, writable
from conch_tools.settings import load_settings


@app.command()
def tune(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    latency_limit_ms: Annotated[float | None, typer.Option(help="Largest p99 latency; none by default.")] = None,
    concurrency: Annotated[int, typer.Option(help="Requests in flight.")] = 16,
    minutes: Annotated[float, typer.Option(help="How long all of it may take.")] = 10.0,
    profile: Annotated[str, typer.Option(help="The profile to write: <model>/configs/PROFILE.pbtxt.")] = "tuned",
    requests: Annotated[
        Path | None, typer.Option(help="Requests to send: text, .jsonl or .csv; else mixed texts, or samples.")
    ] = None,
    generator: Annotated[str, typer.Option(help="Who sends them: conch, or perf_analyzer on PATH.")] = "conch",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no profile.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a profile that no tuning wrote.")] = False,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Where the plot goes, as SVG.", callback=writable)] = None,
) -> None:
    """Find the settings of a pipeline that answer the most requests a second here, and write them as a profile."""
    from rich.console import Console

    from conch_tools.tune.run import TuneOptions
    from conch_tools.tune.run import tune as run

    options = TuneOptions(
        pipeline, profile, concurrency, latency_limit_ms, minutes, generator, requests, dry_run, force
    )
    run(load_settings(), options, Console(), output, plot)


@bench.command()
def peers(
    seconds: Annotated[float, typer.Option(help="Measured time of each contender and round.")] = 10.0,
    rounds: Annotated[int, typer.Option(help="Rounds; contenders take turns in each, medians are shown.")] = 3,
    concurrency: Annotated[int, typer.Option(help="Requests in flight.")] = 16,
    output: Output = None,
) -> None:
    """Throughput of `embed` against the in-process limit and against other servers, on this machine, in one run."""
    from rich.console import Console

    from conch_tools.bench.peers import bench_peers

    bench_peers(load_settings(), seconds, rounds, concurrency, output, Console())


@bench.command()
def grid(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    output: Annotated[
        Path, typer.Option(help="The grid's file; what it holds already is not measured again.", callback=writable)
    ],
    seconds: Annotated[float, typer.Option(help="Measured time of each point.")] = 3.0,
    concurrency: Annotated[int, typer.Option(help="Requests in flight.")] = 16,
) -> None:
    """Measure every point of a part of the space that `conch tune` searches; goes on where it was stopped."""
    from rich.console import Console

    from conch_tools.tune.grid import bench_grid

    bench_grid(load_settings(), pipeline, concurrency, seconds, output, Console())


@bench.command(name="tune")
def bench_tune(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    grid: Annotated[Path, typer.Option(help="A file of `conch bench grid`.")],
    profile: Annotated[str, typer.Option(help="The profile that `conch tune` wrote.")] = "tuned",
    rounds: Annotated[int, typer.Option(help="Rounds; all take turns in each, medians are compared.")] = 5,
    seconds: Annotated[float, typer.Option(help="Measured time of each turn.")] = 4.0,
    output: Output = None,
) -> None:
    """Hold a tuning's choice against the best points of a grid, in one run. Exit code 1 when it falls short."""
    from rich.console import Console

    from conch_tools.tune.versus import TARGET
    from conch_tools.tune.versus import bench_tune as run

    if run(load_settings(), pipeline, profile, grid, rounds, seconds, Console(), output) < TARGET:
        raise typer.Exit(1)


@bench.command()
def heal(
    seconds: Annotated[float, typer.Option(help="Load for each death.")] = 60.0,
    concurrency: Annotated[int, typer.Option(help="Callers.")] = 32,
    only: Annotated[str | None, typer.Option(metavar="STEP", help="A kind of step, or one step.")] = None,
    how: Annotated[How | None, typer.Option(help="Only this; by default all of them.")] = None,
    output: Output = None,
) -> None:
    """Kill and stop a process of every kind of step, and the server, under load: what callers notice, how long."""
    from rich.console import Console

    from conch_tools.bench.heal import bench_heal

    bench_heal(load_settings(), seconds, concurrency, only, how, output, Console())
