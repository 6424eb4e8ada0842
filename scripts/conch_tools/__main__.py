"""The `conch` command, also as `python -m conch_tools` for when its script is not on PATH."""

import sys


def main() -> None:
    """Import the command line and run it: Ctrl-C during the import is no stack trace either."""
    try:
        from conch_tools.cli.main import main as run
    except KeyboardInterrupt:
        print("conch: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
