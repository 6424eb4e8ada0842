"""Word of `conch load` to the healer of the server that it loads into: two files beside the server's record.

While a lock is held, what fails is the load's to mend; the healer would undo what is half done. The mark tells that a
load or an unload has succeeded, and which pipelines and releases are served since: pipeline.toml may expect other
answers now, which the healer read when it began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from conch_tools.errors import SettingsError, in_words
from conch_tools.files import write_whole
from conch_tools.locks import is_held
from conch_tools.server.record import load_mark_path, loading_lock_path
from conch_tools.settings import Settings


def note_load(settings: Settings, served: Sequence[str]) -> None:
    """The server on the configured HTTP port serves these pipelines and releases now. Raises SettingsError when that
    cannot be noted."""
    mark = load_mark_path(settings)
    try:
        write_whole(mark, json.dumps({"served": list(served), "at": time.time_ns()}) + "\n")
    except OSError as problem:
        raise SettingsError(
            f"the load cannot be told to the server in {mark}: {in_words(problem)}: mend that, and load again"
        ) from problem


class Loads:
    """What the healer knows of them. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._lock, self._mark = loading_lock_path(settings), load_mark_path(settings)
        self._taken = _content(self._mark)

    @property
    def unsettled(self) -> bool:
        """Whether a load is under way, or has succeeded since `take` was called."""
        return is_held(self._lock) or _content(self._mark) != self._taken

    def take(self) -> list[str] | None:
        """What is served since the load that has succeeded since the last time; None where none has."""
        now = _content(self._mark)
        news, self._taken = now != self._taken, now
        return list(json.loads(now)["served"]) if news and now else None


def _content(mark: Path) -> bytes:
    try:
        return mark.read_bytes()
    except FileNotFoundError:
        return b""
