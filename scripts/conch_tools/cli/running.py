"""Commands that start, hold, change and ask a server."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from conch_tools.cli.app import Only, Parameters, Profile, app, say
from conch_tools.settings import load_settings


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

    say(stop_recorded(load_settings()))


@app.command()
def serve(only: Only = None, profile: Profile = None) -> None:
    """Start the real tritonserver over the model repository and hold it until Ctrl-C or SIGTERM."""
    from conch_tools.serve import served_pipelines, serving
    from conch_tools.supervise import supervise

    settings = load_settings(profile=profile)
    with serving(settings, only or [], on_log=lambda line: print(line, file=sys.stderr)) as server:
        say(
            f"ready: HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}, "
            f"health http://{settings.host}:{settings.health_port}/ready"
        )
        supervise(server, settings, served_pipelines(settings, only or []), say)
        say("stopping")


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
    version: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Pin the pipeline to this release; `latest` to none.")
    ] = None,
) -> None:
    """Bring what was changed in the repository into the running server, checked before and after."""
    from conch_tools.healing.load import load as run

    run(load_settings(), names, say, version)


@app.command()
def unload(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Name of a pipeline.")],
    version: Annotated[int | None, typer.Option(metavar="NUMBER", help="Only this release of it.")] = None,
) -> None:
    """Take a pipeline, or one release, out of the running server once its requests are answered; the files stay."""
    from conch_tools.healing.unload import unload as run

    run(load_settings(), pipeline, version, say)


@app.command()
def versions(
    names: Annotated[list[str] | None, typer.Argument(metavar="PIPELINE", help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """List the releases that were built: of what, when, how good, and what they are served as."""
    from conch_tools.releases.listing import in_lines
    from conch_tools.releases.listing import versions as run

    found = run(load_settings(), names or [])
    if not found:
        say("nothing was built as a release yet: conch build")
    print(json.dumps(found, indent=2) if as_json else "\n".join(in_lines(found)))


@app.command()
def infer(
    pipeline: Annotated[str, typer.Argument(help="Name of a pipeline or of any other model.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Values, one request each; or, for several tensors, NAME=VALUE for one request.")
    ],
    parameters: Parameters = None,
    top_k: Annotated[int | None, typer.Option(help="How many classes to answer: the parameter top_k.")] = None,
    version: Annotated[int | None, typer.Option(metavar="NUMBER", help="The release to ask.")] = None,
    url: Annotated[str | None, typer.Option(help="gRPC address of another server.")] = None,
) -> None:
    """Ask a running server; one line of JSON for each answer. @FILE stands for a text file's content."""
    from conch_tools.infer import infer as run
    from conch_tools.server.record import ServerRecord

    settings = load_settings()
    server = ServerRecord.read(settings) if url is None else None
    target = url or f"{settings.host}:{settings.grpc_port}"
    own = [*(parameters or []), *([] if top_k is None else [f"top_k={top_k}"])]
    # A terminal or pipe that takes less than Unicode gets JSON's own escapes.
    takes_less = not (sys.stdout and sys.stdout.encoding.lower().startswith("utf"))
    loader = server.health if server is not None else None
    asked = "" if version is None else version
    for answer in run(target, pipeline, inputs, own, settings.answer_timeout_s, asked, loader):
        print(json.dumps(answer, ensure_ascii=takes_less))
