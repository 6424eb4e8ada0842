"""Who else uses the machine while something is measured."""

from __future__ import annotations

import time

import psutil


class OthersLoad:
    """Cores that processes other than ours and our children kept busy between two moments.

    What a child of ours leaves behind when it is killed counts as others' from then on, so ask before.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._before = _busy_s() - _ours_s()

    def cores(self) -> float:
        """Cores taken by others since this object was made; time that the hypervisor took counts as others'."""
        elapsed = time.monotonic() - self._started
        return max(0.0, (_busy_s() - _ours_s() - self._before) / elapsed) if elapsed else 0.0


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guests' time is part of user time already.
    return float(sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))


def _ours_s() -> float:
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        # With what its ended children used, once it has waited for them.
        total += times.user + times.system + times.children_user + times.children_system
    return total
