"""`python -m conch_tools` is the `conch` command, for when its script is not on PATH."""

from conch_tools.cli import main

main()
