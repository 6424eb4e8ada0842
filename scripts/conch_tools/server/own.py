"""Settings for a server of one's own beside any other: for trials and measurements, which must not disturb and not be
disturbed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings


@contextlib.contextmanager
def own_settings(settings: Settings, purpose: str) -> Iterator[Settings]:
    """The same with free ports, nothing from a response cache, and a new state, which is gone after the block.

    What is changed at run time, as a catalogue, is kept in the state: a trial begins with what was built, and changes
    nothing of a running server's. The cache would answer what was asked before, and be measured in its place.
    """
    http, grpc, metrics = free_ports(3)
    own = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "response_cache_bytes": 0}
    # Named so that what a killed process leaves is swept.
    with tempfile.TemporaryDirectory(prefix=f"conch-{os.getpid()}-{purpose}-") as state:
        yield settings.model_copy(update={**own, "state": Path(state)})
