"""A server of parity's own over what is to be compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.own import own_settings
from conch_tools.settings import Settings


@contextlib.contextmanager
def trial_server(settings: Settings, models: Sequence[str]) -> Iterator[EmbeddedServer]:
    """A server over these models that nobody else asks."""
    with own_settings(settings, "parity") as own, EmbeddedServer(ServerOptions(own, models=models)) as server:
        yield server
