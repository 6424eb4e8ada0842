"""The `conch` command as a whole: every known failure is one message and an exit code, never a stack trace."""

from __future__ import annotations

import importlib
import io
import signal
import sys
from typing import NoReturn

from conch_client import ConchError as ClientError
from conch_tools.cli.app import app, fail
from conch_tools.errors import ConchError, with_cure
from conch_tools.signals import SIGNAL_EXIT_CODE, Stopped, ignore_signals, signals_raise_stopped

for _part in ("running", "adding", "building", "checking", "measuring"):
    # Importing a module enters its commands, in the order in which help lists them.
    importlib.import_module(f"conch_tools.cli.{_part}")


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
        fail(how, SIGNAL_EXIT_CODE + stop.number)
    except ConchError as problem:
        fail(str(problem), problem.exit_code)
    except ClientError as problem:
        fail(str(problem), 1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as problem:
        fail(with_cure(problem), 1)
    sys.exit(0)
