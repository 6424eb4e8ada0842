"""`python -m conch_tools.gpu_check`: the check where the `conch` command's own libraries may be absent.

Without them it still says what the machine has, names what it lacks to run the pipelines, and ends with exit code 3.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conch_tools.errors import ConchError, UnsuitableMachine
from conch_tools.files import require_writable, write_json
from conch_tools.gpu_check.findings import look
from conch_tools.gpu_check.report import machine_text


def main() -> int:
    """Parse the arguments, run what can be run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conch_tools.gpu_check")
    parser.add_argument("--output", type=Path, help="also write the findings here, as JSON")
    parser.add_argument("--only", action="append", default=[], metavar="PIPELINE", help="only this one")
    arguments = parser.parse_args()
    try:
        if arguments.output is not None:
            require_writable(arguments.output)
        _check(arguments.only, arguments.output)
    except ConchError as problem:
        print(f"conch: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


def _check(only: list[str], output: Path | None) -> None:
    try:
        from conch_tools.gpu_check.run import gpu_check
        from conch_tools.settings import load_settings
    except ModuleNotFoundError as problem:
        findings = look()
        print(machine_text(findings))
        if output is not None:
            write_json(output, findings.as_json())
        raise UnsuitableMachine(
            f"the pipelines cannot be run without the package {problem.name}: scripts/environment serve"
        ) from problem
    gpu_check(load_settings(), only, output, print)


if __name__ == "__main__":
    sys.exit(main())
