"""What README and docs show is run: every `python` and every `sh` block, against the running server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(language, code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (language, code) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
BLOCK_LIMIT_S = 120


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_the_block_runs(language: str, code: str, triton: Any, tmp_path: Path) -> None:
    http, grpc = triton.http_url, triton.grpc_url
    code = code.replace("localhost:8000", http).replace("localhost:8001", grpc)
    if language == "python":
        command = [sys.executable, "-c", code]
    else:
        code = code.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        command = ["bash", "-euo", "pipefail", "-c", code]
    ports = {"CONCH_HTTP_PORT": http.rpartition(":")[2], "CONCH_GRPC_PORT": grpc.rpartition(":")[2]}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), **ports}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BLOCK_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert broken == []
