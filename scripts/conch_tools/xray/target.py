"""A model of a server, as it is written on the command line."""

from __future__ import annotations

from dataclasses import dataclass

from conch_tools.errors import SettingsError


@dataclass(frozen=True)
class Target:
    """A model of a server."""

    model: str
    version: str
    """"" for the latest."""
    url: str
    """host:port of gRPC."""

    def __str__(self) -> str:
        return self.model + (f":{self.version}" if self.version else "")


def target_of(written: str, url: str) -> Target:
    """NAME[:VERSION][@HOST:PORT], on the server at `url` unless it names one. Raises SettingsError."""
    rest, elsewhere, last = written.rpartition("@")
    named, where = (rest, last) if elsewhere else (last, url)
    model, mark, version = named.rpartition(":")
    if not mark or not version.isdecimal():
        model, version = named, ""
    if not model or (elsewhere and not where):
        raise SettingsError(f"a model is written NAME, NAME:VERSION or NAME@HOST:PORT, got {written!r}")
    return Target(model, version, where)
