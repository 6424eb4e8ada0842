"""Signals that ask a command to stop, as one exception: it unwinds all that is under way, and nothing disturbs that."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIGNAL_EXIT_CODE = 128
"""Shells add it to a signal's number."""


class Stopped(BaseException):
    """A signal asked us to stop: the normal end of a server. Like KeyboardInterrupt it is no error to be handled."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def signals_raise_stopped() -> Iterator[None]:
    """Turn the first of STOP_SIGNALS into Stopped; later ones are ignored, so that stopping is never cut short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        ignore_signals()
        raise Stopped(number)

    # An ignored SIGHUP stays so: that is how nohup keeps a server over the end of its terminal. An ignored SIGINT only
    # means that a script started us in the background.
    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS if number not in kept}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """From now on no signal asks to stop; for the main thread only, where signals arrive."""
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
