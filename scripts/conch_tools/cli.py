"""The `conch` command: options in, one call, a sentence and an exit code out. The work is in the modules it calls."""

from __future__ import annotations

import importlib.metadata
import io
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from conch_client import ConchError as ClientError
from conch_tools import SERVER_VERSION
from conch_tools.bench.deaths import How
from conch_tools.errors import ConchError, in_words
from conch_tools.settings import Settings, load_settings
from conch_tools.signals import SIGNAL_EXIT_CODE, Stopped, ignore_signals, signals_raise_stopped

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
bench = typer.Typer(help="Measure, and compare with others in the same run.", no_args_is_help=True)
app.add_typer(bench, name="bench")

Only = Annotated[list[str] | None, typer.Option("--only", metavar="PIPELINE", help="Only this one; may be repeated.")]
Profile = Annotated[str | None, typer.Option(help="Hardware profile: <model>/configs/PROFILE.pbtxt.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"conch {importlib.metadata.version('conch')} (tritonserver {SERVER_VERSION})")
        raise typer.Exit


@app.callback()
def conch(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Build, check, serve and measure a Triton model repository."""


@app.command()
def up(
    only: Only = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything answers.")] = False,
    profile: Profile = None,
) -> None:
    """Build what is missing, start everything, ask every pipeline once and show the answers."""
    from rich.console import Console

    from conch_tools.up import up as run

    run(load_settings(profile=profile), only or [], detach, Console())


@app.command()
def down() -> None:
    """Stop the server that `conch up --detach` or `conch serve` holds on the configured ports."""
    from conch_tools.server.record import stop_recorded

    _say(stop_recorded(load_settings()))


@app.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what is current.")] = False,
) -> None:
    """Make the pipelines' artifacts from their sources and prove them equal to the reference."""
    from conch_tools.build.run import build as run
    from conch_tools.pipelines import load_pipelines
    from conch_tools.serve import require_repository

    settings = load_settings()
    require_repository(settings)
    if not run(settings, load_pipelines(settings.repository, names or []), _say, force):
        _say("all artifacts are current")


@app.command()
def parity(
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every pipeline of the repository.")] = False,
    corpus: Annotated[Path | None, typer.Option(help="Inputs of your own: text, .jsonl or .csv.")] = None,
    against: Annotated[str | None, typer.Option(help="Compare with this pipeline instead of the reference.")] = None,
    against_profile: Annotated[str | None, typer.Option(help="Compare with the same, served with a profile.")] = None,
    against_url: Annotated[str | None, typer.Option(help="Compare with a server at this gRPC address.")] = None,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write everything here, as JSON.")] = None,
) -> None:
    """Compare answers with the reference libraries', or with another server's. Exit code 1 when they miss the gate."""
    from rich.console import Console

    from conch_tools.parity.report import render, show
    from conch_tools.parity.run import parity as run
    from conch_tools.parity.with_another import Other

    other = Other(against, against_profile, against_url)
    verdicts = run(load_settings(profile=profile), names or [], every, corpus, other, _say)
    if as_json:
        print(render(verdicts))
    else:
        show(verdicts, Console())
    if output is not None:
        output.write_text(render(verdicts) + "\n", encoding="utf-8")
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A module of conch_tools.training, as sentiment.")],
) -> None:
    """Train a model of Conch's own again, from its committed data and seed."""
    from conch_tools.training import training_named

    training_named(name).train(_say)


@app.command()
def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Model repositories, or files in them.")
    ] = None,
    form: Annotated[Literal["human", "json", "sarif"], typer.Option("--format", help="What to print.")] = "human",
    select: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Only these rules: ENS, CFG015.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Not these rules.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings as well.")] = False,
    backends: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with backends; may be repeated.")
    ] = None,
    explain: Annotated[str | None, typer.Option(metavar="CODE", help="Say what a rule is about, and stop.")] = None,
) -> None:
    """Find, without a server, what Triton would refuse or answer wrongly. Exit code 1 when there are errors."""
    from conch_tools.check import Format, has_errors, render
    from conch_tools.check.command import Selection
    from conch_tools.check.command import check as run
    from conch_tools.check.explain import in_text, rule_of

    if explain is not None:
        print(in_text(rule_of(explain)))
        return
    settings = load_settings()
    if not paths:
        from conch_tools.serve import require_repository

        require_repository(settings)
    findings = run(settings, paths or [], backends or [], Selection.of(select or [], ignore or []))
    print(render(findings, Format(form)))
    if has_errors(findings) or (strict and findings):
        raise typer.Exit(1)


@app.command()
def serve(only: Only = None, profile: Profile = None) -> None:
    """Start the real tritonserver over the model repository and hold it until Ctrl-C or SIGTERM."""
    from conch_tools.serve import served_pipelines, serving
    from conch_tools.supervise import supervise

    settings = load_settings(profile=profile)
    with serving(settings, only or [], on_log=lambda line: print(line, file=sys.stderr)) as server:
        _say(
            f"ready: HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}, "
            f"health http://{settings.host}:{settings.health_port}/ready"
        )
        supervise(server, settings, served_pipelines(settings, only or []), _say)
        _say("stopping")


@app.command()
def ready(
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
) -> None:
    """Say of every pipeline whether it answers its golden requests. Exit code 1 when one does not."""
    from conch_tools.ready import ready as run

    lines = run(load_settings(), names or [])
    for line, _ in lines:
        print(line)
    if not all(well for _, well in lines):
        raise typer.Exit(1)


@app.command()
def load(
    names: Annotated[list[str], typer.Argument(metavar="MODEL", help="A model, or a pipeline: all its models.")],
) -> None:
    """Bring what was changed in the repository into the running server, checked before and after."""
    from conch_tools.healing.load import load as run

    run(load_settings(), names, _say)


@app.command()
def infer(
    pipeline: Annotated[str, typer.Argument(help="Name of a pipeline or of any other model.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Values, one request each; or, for several tensors, NAME=VALUE for one request.")
    ],
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="A parameter of the request.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="How many classes to answer: the parameter top_k.")] = None,
    url: Annotated[str | None, typer.Option(help="gRPC address of another server.")] = None,
) -> None:
    """Ask a running server; one line of JSON for each answer. @FILE stands for a text file's content."""
    from conch_tools.infer import infer as run

    settings = load_settings()
    target = url or f"{settings.host}:{settings.grpc_port}"
    own = [*(parameters or []), *([] if top_k is None else [f"top_k={top_k}"])]
    # A terminal or pipe that takes less than Unicode gets JSON's own escapes.
    takes_less = not (sys.stdout and sys.stdout.encoding.lower().startswith("utf"))
    for answer in run(target, pipeline, inputs, own, settings.answer_timeout_s):
        print(json.dumps(answer, ensure_ascii=takes_less))


@app.command()
def xray(
    pipeline: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="A pipeline or any other model.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="A value, or NAME=VALUE for each tensor; default: the pipeline's first sample."),
    ] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="A parameter of the request.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Requests of each caller that are timed.")] = 20,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Callers at once.")] = 1,
    against: Annotated[
        str | None, typer.Option(metavar="NAME[:VERSION][@HOST:PORT]", help="Another model, compared step by step.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest absolute difference that is none.")] = 1e-4,
    html: Annotated[Path | None, typer.Option(help="Also write a page with everything here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    url: Annotated[str | None, typer.Option(help="gRPC address of another server.")] = None,
) -> None:
    """Send one request through a running server step by step: every tensor, and where the time goes."""
    from rich.console import Console

    from conch_tools.xray.measure import Load
    from conch_tools.xray.run import Asked, shown
    from conch_tools.xray.run import xray as run

    asked = Asked(inputs or [], parameters or [], Load(repeat, concurrency), against, tolerance)
    report = run(load_settings(), pipeline, url, asked)
    shown(report, Console(), html, as_json)
    if report.problem:
        _fail(report.problem, 1)


@app.command(name="gpu-check")
def gpu_check(
    output: Annotated[Path | None, typer.Option(help="Also write the findings here, as JSON.")] = None,
    only: Only = None,
) -> None:
    """Say which GPU, driver and runtimes this machine has, and run every pipeline's samples on what there is."""
    from conch_tools.gpu_check.run import gpu_check as run

    run(load_settings(), only or [], output, print)


@app.command()
def tune(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    latency_limit_ms: Annotated[float | None, typer.Option(help="Largest p99 latency; none by default.")] = None,
    concurrency: Annotated[int, typer.Option(help="Requests in flight.")] = 16,
    minutes: Annotated[float, typer.Option(help="How long all of it may take.")] = 10.0,
    profile: Annotated[str, typer.Option(help="The profile to write: <model>/configs/PROFILE.pbtxt.")] = "tuned",
    requests: Annotated[
        Path | None, typer.Option(help="Requests to send, a JSON object of inputs a line; else texts or samples.")
    ] = None,
    generator: Annotated[str, typer.Option(help="Who sends them: conch, or perf_analyzer on PATH.")] = "conch",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no profile.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a profile that no tuning wrote.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Where the plot goes, as SVG.")] = None,
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
    output: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
) -> None:
    """Throughput of `embed` against the in-process limit and against other servers, on this machine, in one run."""
    from rich.console import Console

    from conch_tools.bench.peers import bench_peers

    bench_peers(load_settings(), seconds, rounds, concurrency, output, Console())


@bench.command()
def grid(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    output: Annotated[Path, typer.Option(help="The grid's file; what it holds already is not measured again.")],
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
    output: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
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
    output: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
) -> None:
    """Kill and stop a process of every kind of step, and the server, under load: what callers notice, how long."""
    from rich.console import Console

    from conch_tools.bench.heal import bench_heal

    bench_heal(load_settings(), seconds, concurrency, only, how, output, Console())


def main() -> NoReturn:
    """Run the command; a known failure is one message on standard error and its exit code, never a stack trace."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the stream's encoding lacks is written as its escape.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with signals_raise_stopped():
            app()
    except Stopped as stop:
        ignore_signals()
        how = "interrupted" if stop.number == signal.SIGINT else f"stopped by {signal.Signals(stop.number).name}"
        _fail(how, SIGNAL_EXIT_CODE + stop.number)
    except ConchError as problem:
        _fail(str(problem), problem.exit_code)
    except ClientError as problem:
        _fail(str(problem), 1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as problem:
        _fail(in_words(problem), 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    print(f"conch: {message}", file=sys.stderr)
    sys.exit(code)


def _say(line: str) -> None:
    print(f"conch: {line}", file=sys.stderr, flush=True)


__all__ = ["Settings", "app", "main"]
