"""Which inference runtimes are installed here, which version, and whether they see a GPU.

Each is asked in a process of its own with a time limit: importing one may take seconds, fail on a missing library, or
bring down the interpreter, and none of that may end the check.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from conch_tools.machine import package_versions

PROBE_TIMEOUT_S = 60.0
NGC_TRITON = Path("/opt/tritonserver")
"""Where NVIDIA's containers keep the server."""
PACKAGES = ("transformers", "tokenizers", "sentence-transformers", "onnx", "numpy", "tritonclient")
"""Those whose version is all there is to know."""

PROBES: Mapping[str, str] = {
    "torch": """
import torch
cuda = torch.cuda.is_available()
seen = f"sees {torch.cuda.device_count()} GPU(s)" if cuda else "sees no GPU"
tell(torch.__version__, f"CUDA {torch.version.cuda or 'not compiled in'}, {seen}")
""",
    "onnxruntime": """
import onnxruntime
if onnxruntime.__file__ is None:
    raise ModuleNotFoundError("python_backends/onnxruntime is on the path, the wheel is not")
tell(onnxruntime.__version__, ", ".join(onnxruntime.get_available_providers()))
""",
    "tensorrt": """
import tensorrt
tell(tensorrt.__version__, "builder and runtime")
""",
    "tensorrt-rtx": """
import tensorrt_rtx_bindings
tell(tensorrt_rtx_bindings.__version__, "builds engines for RTX cards, without a GPU too")
""",
}
"""Runtime to the code that looks into it; `tell(version, detail)` reports."""
_PRELUDE = "import json\ndef tell(version, detail): print('\\n' + json.dumps([str(version), detail]))\n"


@dataclass(frozen=True)
class Runtime:
    """One runtime. `version` is None when it is not there or does not work; `detail` then says which."""

    name: str
    version: str | None
    detail: str = ""


def find_runtimes() -> list[Runtime]:
    """Everything that could run a model here, found or not."""
    return [
        triton_in_wheel(),
        triton_in_container(),
        *(probe(name, code) for name, code in PROBES.items()),
        *(Runtime(name, version, "" if version else "not found") for name, version in _versions(PACKAGES)),
    ]


def triton_in_wheel() -> Runtime:
    """The embedded server that `conch serve` starts."""
    [(_, version)] = _versions(["nvidia-pytriton"])
    return Runtime("Triton (nvidia-pytriton)", version, "the embedded server" if version else "not found")


def triton_in_container(folder: Path = NGC_TRITON) -> Runtime:
    """The server of NVIDIA's containers, with the backends it has."""
    name = f"Triton ({folder})"
    if not (folder / "bin" / "tritonserver").is_file():
        return Runtime(name, None, "not found")
    told = folder / "TRITON_VERSION"
    version = told.read_text(encoding="utf-8").strip() if told.is_file() else "unknown version"
    backends = sorted(each.name for each in (folder / "backends").glob("*") if each.is_dir())
    return Runtime(name, version, f"backends: {', '.join(backends) or 'none'}")


def probe(name: str, code: str, timeout_s: float = PROBE_TIMEOUT_S) -> Runtime:
    """Run a probe in a process of its own; whatever happens to it is a finding."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PRELUDE + code], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Runtime(name, None, f"does not import within {timeout_s:.0f} s")
    if done.returncode == 0:
        version, detail = json.loads(done.stdout.splitlines()[-1])
        return Runtime(name, version, detail)
    if done.returncode < 0:
        return Runtime(name, None, f"its import was killed by signal {-done.returncode}")
    why = (done.stderr.strip().splitlines() or ["its import failed without a word"])[-1]
    return Runtime(name, None, "not found" if why.startswith("ModuleNotFoundError") else why)


def _versions(names: Iterable[str]) -> list[tuple[str, str | None]]:
    return list(package_versions(names).items())
