"""A process apart for files whose loading runs code that somebody put into them, as a pickle's does.

It has no network, so what such code finds it cannot send away, and none of the environment's secrets to find: neither
tokens nor keys are handed on. It can still read and write this user's files, so it runs what its user trusts, no more.

What it finds comes back as JSON and plain arrays. An object that the process made would bring its code along.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_tools.build.apart_inside import ANSWER, GRAPH, PROBLEM, REQUEST, ROWS, SCORES
from conch_tools.errors import BuildError

LIMIT_S = 600.0
HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")


def ask_apart(
    pipeline: str, module: str, request: Mapping[str, Any], rows: npt.NDArray[np.float32] | None = None
) -> tuple[dict[str, Any], npt.NDArray[Any] | None, bytes | None]:
    """Run a module of ours apart: its answer, scores and graph, of which it gives what was asked for.

    Raises BuildError with what the module says is wrong, or that it ended without a word.
    """
    environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="conch-apart-") as made:
        folder = Path(made)
        (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        if rows is not None:
            np.save(folder / ROWS, rows, allow_pickle=False)
        command = [sys.executable, "-m", module, made]
        try:
            ended = subprocess.run(
                command,
                env={**environment, "OMP_NUM_THREADS": "1"},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired as problem:
            raise BuildError(pipeline, f"its source did not answer within {LIMIT_S / 60:.0f} minutes") from problem
        if not (folder / ANSWER).is_file():
            last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
            said = f": {last[0]}" if last else ""
            raise BuildError(pipeline, f"the process that loads its source ended with code {ended.returncode}{said}")
        answer = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
        if PROBLEM in answer:
            raise BuildError(pipeline, answer[PROBLEM])
        scores = np.load(folder / SCORES, allow_pickle=False) if (folder / SCORES).is_file() else None
        graph = (folder / GRAPH).read_bytes() if (folder / GRAPH).is_file() else None
        return answer, scores, graph
