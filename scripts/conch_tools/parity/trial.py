"""A server of parity's own over what is to be compared."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings


@contextlib.contextmanager
def trial_server(settings: Settings, models: Sequence[str]) -> Iterator[EmbeddedServer]:
    """A server of its own on free ports, which answers nothing from a cache.

    Its state is new: what changed at run time is kept there, and no reference knows of it.
    """
    http, grpc, metrics = free_ports(3)
    own = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "response_cache_bytes": 0}
    with tempfile.TemporaryDirectory(prefix="conch-parity-") as state:
        trial = settings.model_copy(update={**own, "state": Path(state)})
        with EmbeddedServer(ServerOptions(trial, models=models)) as server:
            yield server
