"""Files of figures: known to be writable before anything is measured, and written whole or not at all.

The command line asks for the first of every file that an option names; a measurement takes minutes.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conch_tools.errors import SettingsError


def now() -> str:
    """The date and time that stands beside figures, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def command_line() -> list[str]:
    """The command that is run, without the place where it is installed."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def require_writable(file: Path) -> None:
    """Raises SettingsError unless the file can be written."""
    folder = file.parent
    touched = file if _is_device(file) else folder
    if file.is_dir() or not folder.is_dir() or not os.access(touched, os.W_OK):
        raise SettingsError(f"{file} cannot be written: name a file in a folder that is there and yours")


def write_whole(file: Path, text: str) -> None:
    """Replace the file by one with this text in a single step; write into a device or a pipe."""
    if _is_device(file):
        file.write_text(text, encoding="utf-8")
        return
    file = file.resolve()
    staged = file.with_name(f".{file.name}.new")
    staged.write_text(text, encoding="utf-8")
    os.replace(staged, file)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """The same, as JSON that people can read."""
    write_whole(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _is_device(file: Path) -> bool:
    return file.exists() and not file.is_file()
