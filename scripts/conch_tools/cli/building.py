"""Commands that make what is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conch_tools.cli.app import Output, app, say, writable
from conch_tools.errors import SettingsError
from conch_tools.settings import Settings, load_settings


@app.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what is current.")] = False,
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Keep what was built, and build the next release beside it.")
    ] = False,
    compare: Annotated[
        str | None, typer.Option(metavar="PIPELINE", help="Build nothing; measure every variant of its graph.")
    ] = None,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Where --compare draws, as SVG.", callback=writable)] = None,
) -> None:
    """Make the pipelines' artifacts from their sources and prove them equal to the reference."""
    from conch_tools.build.run import build as run
    from conch_tools.pipelines import load_pipelines
    from conch_tools.serve import require_repository

    if new_version and not names:
        raise SettingsError("--new-version builds the pipelines that you name, and you named none")
    settings = load_settings()
    require_repository(settings)
    if compare is not None:
        if names or force or new_version:
            raise SettingsError("--compare builds nothing: name its pipeline alone")
        _compare(settings, compare, output, plot)
        return
    if output is not None or plot is not None:
        raise SettingsError("--output and --plot belong to --compare")
    if not run(settings, load_pipelines(settings.repository, names or []), say, force, new_version):
        say("all artifacts are current")


def _compare(settings: Settings, pipeline: str, output: Path | None, plot: Path | None) -> None:
    from rich.console import Console

    from conch_tools.build.compare import as_plain
    from conch_tools.build.compare import compare as run
    from conch_tools.build.compare_report import print_rows, speeds_drawn
    from conch_tools.files import command_line, now, write_json, write_whole
    from conch_tools.machine import this_machine

    machine, rows = this_machine(), run(settings, pipeline, say)
    print_rows(rows, Console())
    say(str(machine))
    if plot is not None:
        write_whole(plot, speeds_drawn(rows, f"{pipeline}: speed beside the graph as built"))
    if output is not None:
        told = {"measured": now(), "command": command_line(), "machine": machine.as_json()}
        write_json(output, {**told, "pipeline": pipeline, "variants": as_plain(rows)})


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A module of conch_tools.training, as sentiment.")],
) -> None:
    """Train a model of Conch's own again, from its committed data and seed."""
    from conch_tools.training import training_named

    training_named(name).train(say)


@app.command()
def sign(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The private key, a file.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key, and sign nothing.")] = False,
) -> None:
    """Vouch for the releases that were built, so that servers which require signatures take them."""
    from conch_tools.pipelines import load_pipelines
    from conch_tools.releases import signatures

    if new_key:
        say(f"made {key}, which signs, and {signatures.keys().new_key(key)}, by which others verify")
        return
    for release in signatures.sign(key, load_pipelines(load_settings().repository, names or [])):
        say(f"signed {release.pipeline} {release.number}")
