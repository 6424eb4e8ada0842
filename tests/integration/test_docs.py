"""What README and docs show is run: every `python` and every `sh` block, against the running server.

A `text` block right behind one is what it prints: the same words, numbers within 2 %, and `…` for what was left out.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conch_tools.server.ports import free_ports

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(language, code, shown, id=f"{page.name}-{number}")
    for page in PAGES
    for number, (language, code, shown) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]
BLOCK_LIMIT_S = 300
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
TOLERANCE = 0.02
"""Of a number, relative to it and absolute: answers differ in the last digits from one processor to another."""


@pytest.mark.parametrize(("language", "code", "shown"), BLOCKS)
def test_the_block_runs(language: str, code: str, shown: str, triton: Any, tmp_path: Path) -> None:
    http, grpc = triton.http_url, triton.grpc_url
    code = code.replace("localhost:8000", http).replace("localhost:8001", grpc)
    if language == "python":
        command = [sys.executable, "-c", code]
    else:
        code = code.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        command = ["bash", "-euo", "pipefail", "-c", code]
    ports = {"CONCH_HTTP_PORT": http.rpartition(":")[2], "CONCH_GRPC_PORT": grpc.rpartition(":")[2]}
    if "conch up" in code:
        # A server of its own.
        free = dict(zip(("HTTP", "GRPC", "METRICS", "HEALTH"), map(str, free_ports(4)), strict=True))
        ports = {**{f"CONCH_{name}_PORT": port for name, port in free.items()}, "CONCH_STATE": str(tmp_path / "state")}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), **ports}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BLOCK_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if shown:
        assert is_shown(done.stdout, shown), f"printed:\n{done.stdout}\nshown:\n{shown}"


def is_shown(printed: str, shown: str) -> bool:
    """Whether a page shows what was printed."""
    number = rf"(?<!\d)(?<!\d\.)({NUMBER.pattern})(?!\d|\.\d)"
    words = number.join(_pattern(part) for part in re.split(NUMBER, shown.strip()))
    found = re.fullmatch(words, printed.strip(), re.DOTALL)
    if found is None:
        return False
    pairs = zip(re.findall(NUMBER, shown), found.groups(), strict=True)
    return all(math.isclose(float(got), float(want), rel_tol=TOLERANCE, abs_tol=TOLERANCE) for want, got in pairs)


def _pattern(words: str) -> str:
    """Of any white space, and `…` of anything."""
    spoken = (r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in re.split(r"\s*…\s*", words))
    return ".*?".join(spoken)


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("a 0.991 b\n", "a 0.99 b", True),
        ("a 0.991 b", "a 0.9 b", False),
        ("a 12 b", "a 12 c", False),
        ("in 2021. Or 1. ", "in 2021. Or 1.", True),
        ("[1.0, 2.0, 3.0]", "[1.0, …]", True),
        ("[1.0, 2.0, 3.0]", "[1.0, … 3.0]", True),
        ("x\n  y", "x y", True),
        ("a none b", "a 0.5 b", False),
    ],
)
def test_a_page_is_compared_with_what_is_printed(printed: str, shown: str, same: bool) -> None:
    assert is_shown(printed, shown) is same


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert broken == []
