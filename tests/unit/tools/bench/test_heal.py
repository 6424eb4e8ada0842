"""What a measurement of deaths rests on: the process that dies, the log from then on, and who else uses the machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from conch_tools.bench.deaths import How
from conch_tools.bench.errors import ContenderFailed
from conch_tools.bench.heal import _Case, _text_since
from conch_tools.bench.others import _ours_s

BURN_S = 0.3
TICKS_S = 0.05
"""Burnt on top: the kernel counts in ticks, and cuts what is begun of one off."""
BURN = f"""
import time
while time.process_time() < {BURN_S + TICKS_S}: pass
"""


def test_a_process_that_ended_before_it_was_to_die_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        server = psutil.Process(ended.pid)
    case = _Case("server", "tritonserver", How.SERVER, [], re.compile("ready again"))
    with pytest.raises(ContenderFailed, match="`tritonserver` ended before it was to die"):
        case.die(server)


def test_the_log_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("loaded anew\n")
    told = log.stat().st_size
    with log.open("a") as more:
        more.write("pipeline `ärger` is well\n")
    assert _text_since(log, told) == "pipeline `ärger` is well\n"


def test_what_ended_children_used_is_ours() -> None:
    before = _ours_s()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert _ours_s() - before >= BURN_S
