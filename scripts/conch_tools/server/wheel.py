"""Where the nvidia-pytriton wheel keeps tritonserver, and whether this Python can run its backends.

The python backend runs every step in a stub process that embeds one exact Python version and was compiled against
numpy 1: with numpy 2 a step loads and its stub dies at the first BYTES input, so that is refused before the start.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from conch_tools.errors import UnsuitableMachine

INSTALL_HINT = "scripts/up installs it; by hand: pip install -c constraints.txt -e '.[serve]'"


@dataclass(frozen=True)
class TritonWheel:
    """The parts of the wheel that a server is started from."""

    server: Path
    """The tritonserver binary."""
    python_backend: Path
    """Folder with libtriton_python.so and triton_python_backend_utils.py."""
    stub: Path
    """triton_python_backend_stub for the running Python version."""
    caches: Path
    """Triton's --cache-directory."""
    libraries: tuple[Path, ...]
    """Folders of shared libraries, for LD_LIBRARY_PATH: the wheel's own, and libpython's for the stub."""


def find_wheel() -> TritonWheel:
    """The installed wheel. Raises UnsuitableMachine naming what is missing and how to get it."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise UnsuitableMachine(
            f"the embedded tritonserver runs on Linux x86-64, this is {platform.system()} {platform.machine()}: "
            "use a Linux machine, a container or WSL2"
        )
    package = importlib.util.find_spec("pytriton")
    if package is None or package.origin is None:
        raise UnsuitableMachine(f"nvidia-pytriton is not installed: {INSTALL_HINT}")
    root = Path(package.origin).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = sorted((each.name for each in stub.parent.parent.glob("3.*")), key=lambda name: int(name[2:]))
        raise UnsuitableMachine(
            f"the wheel has no Python {version} stub (it has {', '.join(known)}): "
            "make the environment with Python 3.11, for example CONCH_PYTHON=python3.11 scripts/up"
        )
    numpy = importlib.metadata.version("numpy")
    if int(numpy.split(".")[0]) >= 2:
        raise UnsuitableMachine(
            f"numpy {numpy} is installed, but the steps' stub needs numpy 1.26: pip install -c constraints.txt numpy"
        )
    if shutil.which("bash") is None:
        raise UnsuitableMachine("bash is not on PATH: Triton starts every Python step through it; install bash")
    return TritonWheel(
        server=root / "bin" / "tritonserver",
        python_backend=root / "backends" / "python",
        stub=stub,
        caches=root / "caches",
        libraries=(root.parent.parent / "nvidia_pytriton.libs", *_python_library(version)),
    )


def _python_library(version: str) -> tuple[Path, ...]:
    """The folder of this Python's shared library, or nothing where the system's loader finds the library by itself.

    The stub is linked to libpython. Another build of the same version would bring its own standard library along.
    """
    name = f"libpython{version}.so.1.0"
    folder = Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent")
    if (folder / name).is_file():
        return (folder,)
    try:
        ctypes.CDLL(name)
    except OSError as problem:
        raise UnsuitableMachine(
            f"{name} is not on this machine, and Triton's Python stub is linked to it: install it "
            f"(Debian: apt install libpython{version}) or use a Python that was built as a shared library"
        ) from problem
    return ()
