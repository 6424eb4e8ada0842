"""perf_analyzer is given the requests and read by its report; it is not installed here: a script stands in for it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.errors import UnsuitableMachine
from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.figures import Traffic
from conch_tools.tune.perf_analyzer import PerfAnalyzer, perf_analyzer
from conch_tools.tune.traffic import Address

ADDRESS = Address("127.0.0.1", 8000, "127.0.0.1:8001")
REPORT = (
    "Concurrency,Inferences/Second,Client Send,p50 latency,p90 latency,p99 latency\n8,63.5,20,107996,150000,266286\n"
)
"""The columns of perf_analyzer 2.50's own that are read, among others."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a perf_analyzer on PATH that keeps its arguments and its data, and writes REPORT."""
    program = tmp_path / "perf_analyzer"
    program.write_text(
        textwrap.dedent(f"""\
            #!/bin/sh
            echo "$@" > {tmp_path}/arguments
            while [ $# -gt 1 ]; do
                [ "$1" = --input-data ] && cp "$2" {tmp_path}/data.json
                [ "$1" = -f ] && printf '{REPORT.encode("unicode_escape").decode()}' > "$2"
                shift
            done
            """)
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def generator() -> PerfAnalyzer:
    of_a_file = np.array([b"a", b"\xc3\xbc"], dtype=np.object_)
    inputs: list[dict[str, object]] = [{"text": "a"}, {"text": b"\x89PNG"}, {"text": [1.0, 2.0]}, {"text": of_a_file}]
    return perf_analyzer(ModelConfig(name="pipe"), inputs)(ADDRESS)


def test_figures_come_from_its_report(stand_in: Path) -> None:
    assert generator().run(8, 3.0) == Traffic(8, 63.5, 107.996, 266.286)
    arguments = (stand_in / "arguments").read_text()
    assert "-m pipe -i grpc -u 127.0.0.1:8001" in arguments
    assert "--concurrency-range 8 --measurement-interval 1000" in arguments


def test_requests_travel_in_its_own_form(stand_in: Path) -> None:
    generator().run(1, 1.0)
    text, image, numbers, texts = json.loads((stand_in / "data.json").read_text())["data"]
    assert text == {"text": {"content": ["a"], "shape": [1]}}
    assert image == {"text": {"b64": "BAAAAIlQTkc=", "shape": [1]}}
    assert texts == {"text": {"b64": "AQAAAGECAAAAw7w=", "shape": [2]}}
    assert numbers == {"text": {"content": [1.0, 2.0], "shape": [2]}}


def test_its_last_words_say_why_it_measured_nothing(stand_in: Path) -> None:
    (stand_in / "perf_analyzer").write_text("#!/bin/sh\necho 'no such model' >&2\nexit 1\n")
    with pytest.raises(CandidateRejected, match="no such model"):
        generator().run(1, 1.0)


@pytest.mark.parametrize(
    "report",
    [
        "",
        "Concurrency,Inferences/Second,p50 latency,p99 latency\\n",
        "Concurrency,Throughput\\n8,63.5\\n",
        "Concurrency,Inferences/Second,p50 latency,p99 latency\\n8,63.5,,\\n",
        "Concurrency,Inferences/Second,p50 latency,p99 latency\\n8\\n",
    ],
)
def test_a_report_without_figures_is_told_in_its_words(stand_in: Path, report: str) -> None:
    program = stand_in / "perf_analyzer"
    escaped = REPORT.encode("unicode_escape").decode()
    program.write_text(program.read_text().replace(escaped, report) + "echo 'no request was valid' >&2\n")
    with pytest.raises(CandidateRejected, match=r"exit code 0\): no request was valid"):
        generator().run(1, 1.0)


def test_a_report_of_a_run_that_failed_is_not_believed(stand_in: Path) -> None:
    program = stand_in / "perf_analyzer"
    program.write_text(program.read_text() + "echo 'thread failed' >&2\nexit 99\n")
    with pytest.raises(CandidateRejected, match=r"exit code 99\): thread failed"):
        generator().run(1, 1.0)


def test_without_it_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsuitableMachine, match="leave --generator out"):
        generator()
