"""What machine this is: the facts that stand beside every measured figure. Needs the standard library only."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """A machine, as far as it decides figures."""

    cpu: str
    cores: int
    """Those this process may use."""
    memory_gib: float
    system: str
    python: str

    def as_json(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.system}, Python {self.python}"


def this_machine() -> Machine:
    """The machine we run on."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Versions of installed distributions by name; None for those that are absent."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _cpu_model() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown processor")
