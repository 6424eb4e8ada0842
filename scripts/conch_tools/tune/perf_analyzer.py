"""NVIDIA's perf_analyzer as the generator, where it is on PATH: the same turn, its figures read from its CSV report."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.errors import UnsuitableMachine
from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.figures import Traffic
from conch_tools.tune.traffic import Address, Inputs

PERF_ANALYZER = "perf_analyzer"
WINDOWS = 3
"""It reports the mean of three windows that agree."""
ANY_PERCENT = 999
"""Whether they agree is not for it to decide: a turn has an end, and the search compares several."""
START_S = 20.0
"""What it may take beside its windows."""
LAST_WORDS = 300


def perf_analyzer(config: ModelConfig, inputs: Sequence[Inputs]) -> Callable[[Address], PerfAnalyzer]:
    """Makes the generator for a server, once it is known where that listens. Raises UnsuitableMachine without it."""
    program = shutil.which(PERF_ANALYZER)
    if program is None:
        raise UnsuitableMachine(
            "there is no perf_analyzer on PATH: docs/measure.md says where to get it, "
            "or leave --generator out for the generator that Conch brings"
        )
    return lambda address: PerfAnalyzer(program, address.grpc_url, config, inputs)


class PerfAnalyzer:
    """Runs perf_analyzer once a turn, over gRPC."""

    name = PERF_ANALYZER

    def __init__(self, program: str, url: str, config: ModelConfig, inputs: Sequence[Inputs]) -> None:
        self._command = [program, "-m", config.name, "-i", "grpc", "-u", url]
        self._data = json.dumps({"data": [{name: _plain(value) for name, value in each.items()} for each in inputs]})

    def run(self, concurrency: int, seconds: float) -> Traffic:
        """The mean of its windows. Raises CandidateRejected with its words when it fails."""
        with tempfile.TemporaryDirectory(prefix="conch-perf-") as folder:
            data, report = Path(folder) / "data.json", Path(folder) / "report.csv"
            data.write_text(self._data, encoding="utf-8")
            options = {
                "--input-data": data,
                "--concurrency-range": concurrency,
                "--measurement-interval": int(1000 * seconds / WINDOWS),
                "--max-trials": WINDOWS,
                "--stability-percentage": ANY_PERCENT,
                "--percentile": 99,
                "-f": report,
            }
            command = [*self._command, *(str(part) for option in options.items() for part in option)]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=START_S + 2 * seconds, check=False
                )
            except subprocess.TimeoutExpired as problem:
                raise CandidateRejected(f"perf_analyzer was not done after {problem.timeout:.0f} s") from problem
            found = _read(report, concurrency) if done.returncode == 0 and report.is_file() else None
        if found is None:
            said = (done.stderr.strip() or done.stdout.strip())[-LAST_WORDS:]
            raise CandidateRejected(f"perf_analyzer measured nothing (exit code {done.returncode}): {said}")
        return found


def _read(report: Path, concurrency: int) -> Traffic | None:
    """From its CSV, whose latencies are in microseconds; None where the figures are not in it."""
    with report.open(encoding="utf-8", newline="") as lines:
        row: dict[str, str] = next(csv.DictReader(lines), {})
    try:
        rate, p50_us, p99_us = (float(row[name]) for name in ("Inferences/Second", "p50 latency", "p99 latency"))
    except (KeyError, TypeError, ValueError):
        return None
    return Traffic(concurrency, requests_per_s=rate, p50_ms=p50_us / 1e3, p99_ms=p99_us / 1e3)


def _plain(value: Any) -> Any:
    """A value of a request in perf_analyzer's JSON: texts and numbers in a list with their shape, bytes as base64 of
    what goes over the wire, where their length stands before each."""
    array = np.asarray(value, dtype=np.object_) if isinstance(value, bytes) else np.asarray(value)
    elements, shape = array.reshape(-1).tolist(), list(array.shape or (1,))
    if not elements or not all(isinstance(each, bytes) for each in elements):
        return {"content": elements, "shape": shape}
    sent = b"".join(struct.pack("<I", len(each)) + each for each in elements)
    return {"b64": base64.b64encode(sent).decode(), "shape": shape}
