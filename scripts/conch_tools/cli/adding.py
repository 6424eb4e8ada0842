"""The command that adds a pipeline to the repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, get_args

import typer

from conch_tools.cli.app import app, say
from conch_tools.deployment import Application, Environment, Priority
from conch_tools.errors import SettingsError
from conch_tools.pipelines import load_pipeline
from conch_tools.settings import load_settings


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The pipeline's name: lower case, digits and _.")],
    task: Annotated[str | None, typer.Option(help="What it does, in Hugging Face's words.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Folder, file, hub id (owner/name), models:/NAME/VERSION of MLflow, package:NAME, or "
            "module:PACKAGE.MODULE:FUNCTION."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Its classes where it does not name them: with commas between, or a file with one a line."),
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="A preprocessor_config.json, where the source does not tell how an image becomes pixels."),
    ] = None,
    application: Annotated[str | None, typer.Option(help=f"Who asks: {', '.join(get_args(Application))}.")] = None,
    environment: Annotated[str | None, typer.Option(help=f"Where it runs: {', '.join(get_args(Environment))}.")] = None,
    priority: Annotated[str | None, typer.Option(help=f"What matters most: {', '.join(get_args(Priority))}.")] = None,
    load: Annotated[
        str | None, typer.Option(help="Requests a minute: low (below 100), medium (below 10,000), high.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="The source may run code when it is loaded, as a pickle does.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: api, cloud, latency, low unless told.")] = False,
) -> None:
    """Add a pipeline: its ensemble, its steps and its pipeline.toml, from six answers and a model."""
    from conch_tools.new.questions import answers
    from conch_tools.new.run import new_pipeline
    from conch_tools.new.told import assumed

    told = {
        "task": task,
        "source": source,
        "application": application,
        "environment": environment,
        "priority": priority,
        "load": load,
        "labels": labels,
        "preprocessing": preprocessing,
    }
    if trust:
        say("warning: the source may run code when it is loaded, in a process without network")
    folders = new_pipeline(load_settings(), answers(name, told, None if yes else _ask, trust))
    for folder in folders:
        say(f"wrote {folder}")
    for note in assumed(load_pipeline(folders[0])):
        say(f"note: {note}")
    say(f"next: conch build {name}, then conch up --only {name}")


def _ask(text: str, choices: Sequence[str], usual: str | None) -> str:
    among = f" ({', '.join(choices)})" if choices else ""
    try:
        answer: str = typer.prompt(f"{text}{among}", default=usual, type=str)
    except typer.Abort as nobody:
        raise SettingsError("nobody answers: say --task, --source and the rest as options, with --yes") from nobody
    return answer.strip()
