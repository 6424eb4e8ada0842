"""Whether this machine has a GPU that Triton can use: a repository that wants one is refused without."""

from __future__ import annotations

import os
from pathlib import Path

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""What NVIDIA's driver brings, and its like under WSL."""


def gpu_is_here() -> bool:
    """Whether there is a driver, and its GPUs are not hidden from this process."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(driver.exists() for driver in _DRIVERS)
