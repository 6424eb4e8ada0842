"""Commands that say whether a repository is sound, its answers right, and what happens to a request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from conch_tools.cli.app import Only, Output, Parameters, Profile, app, fail, say, writable
from conch_tools.files import write_whole
from conch_tools.settings import load_settings


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
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--no-gpu", help="Whether the server will have a GPU; else this machine's.")
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
    findings = run(settings, paths or [], backends or [], Selection.of(select or [], ignore or []), gpu=gpu)
    print(render(findings, Format(form)))
    if has_errors(findings) or (strict and findings):
        raise typer.Exit(1)


@app.command()
def verify(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="Only these.")] = None,
) -> None:
    """Compare every file that would be served with what was built. Exit code 1 when one differs."""
    from conch_tools.releases.signatures import require_signed
    from conch_tools.serve import served_pipelines
    from conch_tools.verify import verify as run

    settings = load_settings()
    found = run(settings.repository, models or [])
    for each in found:
        if each.problem is not None:
            print(each.problem)
    if bad := sum(each.problem is not None for each in found):
        fail(f"{bad} of {len(found)} version folders are not as they were built", 1)
    require_signed(settings, served_pipelines(settings, []))
    files, size = sum(each.files for each in found), sum(each.bytes for each in found)
    print(f"{len(found)} version folders, {files} files, {size / 1e6:.0f} MB: all as they were built")


@app.command()
def parity(
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every pipeline of the repository.")] = False,
    corpus: Annotated[Path | None, typer.Option(help="Inputs of your own: text, .jsonl or .csv.")] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME[:VERSION][@HOST:PORT]", help="Compare with this one instead of the reference."),
    ] = None,
    against_profile: Annotated[str | None, typer.Option(help="Compare with the same, served with a profile.")] = None,
    against_url: Annotated[str | None, typer.Option(help="Compare with a server at this gRPC address.")] = None,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write everything here, as JSON.", callback=writable)] = None,
) -> None:
    """Compare answers with the reference libraries', or with another server's. Exit code 1 when they miss the gate."""
    from rich.console import Console

    from conch_tools.parity.report import render, show
    from conch_tools.parity.run import parity as run
    from conch_tools.parity.with_another import Other

    other = Other.written(against, against_profile, against_url)
    verdicts = run(load_settings(profile=profile), names or [], every, corpus, other, say)
    if as_json:
        print(render(verdicts))
    else:
        show(verdicts, Console())
    if output is not None:
        write_whole(output, render(verdicts) + "\n")
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def xray(
    pipeline: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="A pipeline or any other model.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="A value, or NAME=VALUE for each tensor; default: the pipeline's first sample."),
    ] = None,
    parameters: Parameters = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Requests of each caller that are timed.")] = 20,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Callers at once.")] = 1,
    against: Annotated[
        str | None, typer.Option(metavar="NAME[:VERSION][@HOST:PORT]", help="Another model, compared step by step.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest absolute difference that is none.")] = 1e-4,
    html: Annotated[Path | None, typer.Option(help="Also write everything here, as a page.", callback=writable)] = None,
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
        fail(report.problem, 1)


@app.command(name="gpu-check")
def gpu_check(
    output: Output = None,
    only: Only = None,
) -> None:
    """Say which GPU, driver and runtimes this machine has, and run every pipeline's samples on what there is."""
    from conch_tools.gpu_check.run import gpu_check as run

    run(load_settings(), only or [], output, print)
