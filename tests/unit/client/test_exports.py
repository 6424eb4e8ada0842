"""What `import conch_client` offers, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import conch_client


def test_the_public_names_are_exactly_the_listed_ones() -> None:
    public = [name for name in vars(conch_client) if not name.startswith("_")]
    assert sorted(conch_client.__all__) == sorted(public)


def test_the_list_is_sorted() -> None:
    assert conch_client.__all__ == sorted(conch_client.__all__)


def test_public_names_say_where_callers_import_them_from() -> None:
    homes = {getattr(conch_client, name).__module__ for name in conch_client.__all__}
    assert homes == {"conch_client"}


def test_importing_loads_no_heavy_package() -> None:
    heavy = ["PIL", "gevent", "pandas", "torch", "transformers", "fastapi"]
    code = f"import sys, conch_client; print([name for name in {heavy} if name in sys.modules])"
    assert _python(code) == "[]"


def test_importing_costs_little_beside_what_it_imports(tmp_path: Path) -> None:
    # A share, in processor time: it is the same on slow and on busy machines. The first run compiles, as an installer
    # or the first use does; the others are what callers pay.
    code = """
import time
start = time.process_time()
import grpc, numpy
from tritonclient.grpc import service_pb2, service_pb2_grpc
needed = time.process_time()
import conch_client
print((time.process_time() - needed) / (needed - start))
"""
    cache = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    _, *shares = [float(_python(code, **cache)) for _ in range(4)]
    assert min(shares) < 0.5


def _python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
