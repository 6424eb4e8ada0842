"""The parts that all commands share: the `conch` application, options that several take, and how it speaks."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from conch_tools import SERVER_VERSION
from conch_tools.files import require_writable

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
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="A parameter of the request.")
]


def writable(file: Path | None) -> Path | None:
    """Of an option that names a file to write: refused before the work, not after. Raises SettingsError."""
    if file is not None:
        require_writable(file)
    return file


Output = Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.", callback=writable)]


def say(line: str) -> None:
    """A line for people, beside what a command prints."""
    print(f"conch: {line}", file=sys.stderr, flush=True)


def fail(message: str, code: int) -> NoReturn:
    """End the command with one message."""
    print(f"conch: {message}", file=sys.stderr)
    sys.exit(code)


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
