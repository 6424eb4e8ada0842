"""NVIDIA GPUs, their driver and the CUDA version it offers, as nvidia-smi tells them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TIMEOUT_S = 20.0
"""nvidia-smi takes a second, and can hang for good when a driver is in trouble."""
_FIELDS = "index,name,compute_cap,memory.total,driver_version"
_CUDA = re.compile(r"CUDA\s+(?:\w+\s+)?Version\s*:\s*(?P<version>\d[\d.]*)")

Query = Callable[[Sequence[str]], str]


class QueryFailed(Exception):
    """nvidia-smi is absent, failed or did not answer; the message says which."""


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    index: int
    name: str
    compute_capability: str
    memory_mib: int


@dataclass(frozen=True)
class GpuFindings:
    """What nvidia-smi told. Without GPUs, `absent` says why."""

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    """The newest CUDA version that the driver runs."""
    absent: str | None = None


def ask_nvidia_smi(arguments: Sequence[str]) -> str:
    """What nvidia-smi prints. Raises QueryFailed."""
    path = shutil.which("nvidia-smi")
    if path is None:
        raise QueryFailed("nvidia-smi is not installed, so there is no NVIDIA driver")
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as problem:
        raise QueryFailed(f"nvidia-smi did not answer within {TIMEOUT_S:.0f} s") from problem
    except OSError as problem:
        raise QueryFailed(f"nvidia-smi cannot be started: {problem}") from problem
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise QueryFailed(f"nvidia-smi failed: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout


def find_gpus(query: Query = ask_nvidia_smi) -> GpuFindings:
    """The machine's NVIDIA GPUs; never raises."""
    try:
        rows = query([f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]).splitlines()
        summary = query([])
    except QueryFailed as problem:
        return GpuFindings(absent=str(problem))
    cells = [[cell.strip() for cell in row.split(",")] for row in rows if row.strip()]
    if not cells:
        return GpuFindings(absent="nvidia-smi lists no GPU")
    cuda = _CUDA.search(summary)
    return GpuFindings(
        gpus=tuple(Gpu(int(index), name, capability, _number(memory)) for index, name, capability, memory, _ in cells),
        driver=cells[0][-1],
        cuda=cuda["version"] if cuda else None,
    )


def _number(cell: str) -> int:
    """Some cards (integrated memory, MIG parents) answer [N/A] where others give a number."""
    return int(cell) if cell.isdigit() else 0
