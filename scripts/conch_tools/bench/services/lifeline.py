"""A child service must not outlive the measurement, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time

FAREWELL_S = 5.0
"""How long the service may take to end by itself, before its whole process group is killed."""


def end_with_parent() -> None:
    """End this process group, which the parent made for us, once the parent closes our standard input or dies."""

    def watch() -> None:
        # Not through sys.stdin: a process forked meanwhile would wait for ever for the lock of its buffer.
        while os.read(0, 1):
            pass
        group = os.getpgid(0)
        os.killpg(group, signal.SIGTERM)
        time.sleep(FAREWELL_S)
        os.killpg(group, signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
