"""A child service must not outlive the measurement, however that ends."""

from __future__ import annotations

import os
import signal
import threading


def end_with_parent() -> None:
    """Kill this process group, which the parent made for us, once the parent closes our standard input or dies."""

    def watch() -> None:
        # Not through sys.stdin: a process forked meanwhile would wait forever for the lock of its buffer.
        while os.read(0, 1):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
