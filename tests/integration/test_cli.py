"""The `conch` command as a newcomer meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import psutil
import pytest

from conch_tools import SERVER_VERSION
from conch_tools.build import run
from conch_tools.build.run import LOCK_FILE
from conch_tools.build.staging import fingerprint_of
from conch_tools.errors import AlreadyRunning, BuildError, NotRunning, RepositoryError, SettingsError
from conch_tools.pipelines import load_pipeline, load_pipelines
from conch_tools.server.record import ServerRecord
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
StartConch = Callable[..., "subprocess.Popen[str]"]
WaitUntil = Callable[..., None]

STOP_LIMIT_S = 5.0
"""What a stopping server may take."""
COMMAND_LIMIT_S = 60.0
"""What a command that has little to do may take on a busy machine."""


@pytest.fixture
def digits_alone(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """Settings for a repository with the pipeline `digits` only, built and current."""
    for folder in Settings().repository.glob("digits*"):
        shutil.copytree(folder, tmp_path / "repository" / folder.name)
    if not (tmp_path / "repository" / "digits" / "1" / "manifest.json").is_file():
        pytest.fail("not built: digits. Run `conch build` first, as scripts/test does", pytrace=False)
    call_current(tmp_path / "repository" / "digits")
    return make_settings(tmp_path / "repository")


def call_current(pipeline: Path) -> None:
    """Say in its manifest that a pipeline was built from what is there now."""
    manifest = pipeline / "1" / "manifest.json"
    told = {**json.loads(manifest.read_text()), "fingerprint": fingerprint_of(load_pipeline(pipeline))}
    manifest.write_text(json.dumps(told))


def one_message(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said: one message on standard error, and nothing else."""
    assert done.stdout == ""
    assert done.stderr.startswith("conch: ") and "Traceback" not in done.stderr
    return done.stderr.removeprefix("conch: ").rstrip("\n")


def test_up_shows_an_answer_of_every_pipeline_and_down_stops_what_it_left_running(
    digits_alone: Settings, run_conch: RunConch
) -> None:
    up = run_conch("up", "--detach", settings=digits_alone)
    assert up.returncode == 0, up.stderr
    assert "all artifacts are current" in up.stdout
    (row,) = (line.split("│") for line in up.stdout.splitlines() if "samples/seven.png" in line)
    assert [cell.strip() for cell in row[1:3]] == ["digits", "samples/seven.png"]
    assert row[3].strip().startswith("7 (") and row[4].strip().endswith(" ms")
    with urllib.request.urlopen(f"http://127.0.0.1:{digits_alone.http_port}/v2", timeout=10) as told:
        assert json.load(told)["version"] == SERVER_VERSION
    record = ServerRecord.read(digits_alone)
    assert record is not None and record.grpc == f"127.0.0.1:{digits_alone.grpc_port}"
    assert re.search(r"memory  0\.\d\d GiB in \d+ processes", up.stdout)

    image = digits_alone.repository / "digits" / "samples" / "seven.png"
    asked = run_conch("infer", "digits", str(image), "--top-k", "2", settings=digits_alone)
    answer = json.loads(asked.stdout)
    assert answer["label"] == "7" and len(answer["scores"]) == 2

    again = run_conch("up", "--detach", settings=digits_alone)
    assert again.returncode == AlreadyRunning.exit_code
    assert f"Conch already serves on port {digits_alone.http_port} (process {record.pid})" in again.stderr

    down = run_conch("down", settings=digits_alone)
    assert (down.returncode, down.stderr) == (0, f"conch: stopped (process {record.pid})\n")
    assert not psutil.pid_exists(record.pid)

    twice = run_conch("down", settings=digits_alone)
    assert twice.returncode == NotRunning.exit_code
    assert one_message(twice) == (f"no server of this checkout runs on port {digits_alone.http_port}: nothing to stop")


def test_what_a_stream_cannot_write_is_escaped(
    digits_alone: Settings, run_conch: RunConch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline = digits_alone.repository / "digits"
    image = tmp_path / "sieben … é 😀.png"
    for copy in (image, pipeline / "samples" / image.name):
        shutil.copy(pipeline / "samples" / "seven.png", copy)
    toml = pipeline / "pipeline.toml"
    toml.write_text(toml.read_text().replace("seven.png", image.name))
    call_current(pipeline)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    up = run_conch("up", "--detach", settings=digits_alone)
    try:
        assert up.returncode == 0, up.stderr
        asked = run_conch("infer", "digits", str(image), settings=digits_alone)
        assert asked.stdout.isascii() and json.loads(asked.stdout)["input"] == str(image)
    finally:
        run_conch("down", settings=digits_alone)


def test_the_version_is_told_at_once_with_that_of_the_server() -> None:
    heavy = ["torch", "transformers", "onnx", "onnxruntime", "pandas", "feast", "usearch"]
    code = f"""if True:
        import sys
        from conch_tools.__main__ import main
        sys.argv = ["conch", "--version"]
        try:
            main()
        finally:
            print([name for name in {heavy} if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=COMMAND_LIMIT_S)
    version = importlib.metadata.version("conch")
    assert done.stdout == f"conch {version} (tritonserver {SERVER_VERSION})\n[]\n"


def test_parity_shows_every_pipeline_beside_its_reference(digits_alone: Settings, run_conch: RunConch) -> None:
    done = run_conch("parity", "--all", settings=digits_alone)
    assert done.returncode == 0, done.stderr
    _, *rows = [line.removeprefix("digits").rsplit(maxsplit=5) for line in done.stdout.splitlines() if "pas" in line]
    assert [row[0].strip() for row in rows] == ["one by one", "batches", "concurrent", "over HTTP"]
    assert all(row[1:4] == ["49", "0", "0"] and float(row[4]) < 1e-4 for row in rows)
    assert done.stdout.splitlines()[-1] == "digits gives the answers of PyTorch (the gate is 1e-04)."


def test_parity_names_the_step_whose_artifact_is_not_what_was_built(
    digits_alone: Settings, run_conch: RunConch
) -> None:
    version = digits_alone.repository / "digits_labels" / "1"
    (version / "manifest.json").unlink()
    (version / "labels.txt").write_text("1\n0\n" + "".join(f"{digit}\n" for digit in range(2, 10)))
    done = run_conch("parity", "digits", settings=digits_alone)
    assert done.returncode == 1
    assert "first step that differs: digits_labels" in done.stdout and "fails" in done.stdout


def test_parity_wants_to_know_of_what(digits_alone: Settings, run_conch: RunConch) -> None:
    assert one_message(run_conch("parity", settings=digits_alone)) == "name the pipelines to compare, or say --all"


def test_new_says_what_to_do_where_nobody_answers_its_questions(digits_alone: Settings, run_conch: RunConch) -> None:
    done = run_conch("new", "mood", settings=digits_alone)
    assert done.returncode == 2
    assert done.stderr.strip() == "conch: nobody answers: say --task, --source and the rest as options, with --yes"


def test_up_stays_until_ctrl_c_and_says_when_a_step_dies(
    digits_alone: Settings, start_conch: StartConch, wait_until: WaitUntil, tmp_path: Path
) -> None:
    log = tmp_path / "conch.log"
    process = start_conch("up", settings=digits_alone)
    wait_until(lambda: "serving until Ctrl-C" in log.read_text(), "conch up shows its answers and stays")
    assert "samples/seven.png" in log.read_text()
    steps = psutil.Process(process.pid).children(recursive=True)
    next(step for step in steps if "/digits_labels/" in " ".join(step.cmdline())).kill()
    wait_until(lambda: "conch: a Python process of model `digits_labels` (" in log.read_text(), "the death is told", 10)
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_LIMIT_S) == 0
    assert log.read_text().splitlines()[-1] == "conch: stopping"
    assert ServerRecord.read(digits_alone) is None


def test_a_detached_server_that_cannot_start_says_why(digits_alone: Settings, run_conch: RunConch) -> None:
    with socket.create_server((digits_alone.host, digits_alone.grpc_port)):
        up = run_conch("up", "--detach", settings=digits_alone)
    assert up.returncode != 0
    said = up.stderr.splitlines()
    assert said[0].startswith(f"conch: port {digits_alone.grpc_port} (Triton gRPC) is taken by process {os.getpid()}")
    assert said[1] == f"(the whole log: {digits_alone.state}/server-{digits_alone.http_port}.log)"
    assert ServerRecord.read(digits_alone) is None


def test_up_builds_again_what_was_changed_after_the_build(digits_alone: Settings, run_conch: RunConch) -> None:
    labels = digits_alone.repository / "digits_labels" / "1" / "labels.txt"
    built = labels.read_text()
    labels.write_text(built.replace("7", "8"))
    try:
        up = run_conch("up", "--detach", settings=digits_alone)
        assert up.returncode == 0, up.stderr
        assert labels.read_text() == built
    finally:
        run_conch("down", settings=digits_alone)


@pytest.fixture
def another_build(digits_alone: Settings) -> Iterator[TextIO]:
    """The lock that another build holds."""
    digits_alone.state.mkdir()
    with (digits_alone.state / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


@pytest.mark.usefixtures("another_build")
def test_where_all_is_current_another_build_does_not_matter(digits_alone: Settings, run_conch: RunConch) -> None:
    done = run_conch("build", settings=digits_alone)
    assert (done.returncode, one_message(done)) == (0, "all artifacts are current")


def test_a_second_build_waits_and_finds_what_the_first_one_made(
    digits_alone: Settings, another_build: TextIO, start_conch: StartConch, wait_until: WaitUntil, tmp_path: Path
) -> None:
    labels = digits_alone.repository / "digits_labels" / "1" / "labels.txt"
    built = labels.read_text()
    labels.write_text(built.replace("7", "8"))
    second = start_conch("build", settings=digits_alone)
    log = tmp_path / "conch.log"
    wait_until(lambda: "another build is under way" in log.read_text(), "the second build says that it waits")
    labels.write_text(built)
    fcntl.flock(another_build, fcntl.LOCK_UN)
    assert second.wait(COMMAND_LIMIT_S) == 0
    assert log.read_text().splitlines() == [
        "conch: another build is under way in this checkout: waiting, at most 30 minutes",
        "conch: all artifacts are current",
    ]


@pytest.mark.usefixtures("another_build")
def test_the_wait_for_another_build_has_an_end(digits_alone: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOCK_WAIT_S", 0.1)
    pipelines = load_pipelines(digits_alone.repository)
    with pytest.raises(
        BuildError, match=rf"another build \(another process\) still holds {digits_alone.state / LOCK_FILE}: stop it"
    ):
        run.build(digits_alone, pipelines, print, force=True)


def test_ctrl_c_in_a_build_is_one_line_and_leaves_nothing(
    digits_alone: Settings, start_conch: StartConch, wait_until: WaitUntil, tmp_path: Path
) -> None:
    process = start_conch("build", "--force", settings=digits_alone)

    def children() -> list[psutil.Process]:
        return list(psutil.Process(process.pid).children(recursive=True))

    # The first child keeps account of the workers; these are still importing what they need.
    wait_until(lambda: len(children()) > 1, "the workers have begun", COMMAND_LIMIT_S)
    time.sleep(0.5)
    workers = children()
    # As a terminal does it: to all of them, and again by who cannot wait.
    for _ in range(2):
        for each in (process, *workers):
            each.send_signal(signal.SIGINT)
    assert process.wait(COMMAND_LIMIT_S) == 128 + signal.SIGINT
    assert (tmp_path / "conch.log").read_text().splitlines() == ["conch: building digits", "conch: interrupted"]
    assert not psutil.wait_procs(workers, STOP_LIMIT_S)[1]
    assert not (digits_alone.state / "staging").exists()


def test_a_pipeline_to_build_is_named_and_a_misspelt_one_guessed(digits_alone: Settings, run_conch: RunConch) -> None:
    done = run_conch("build", "digit", settings=digits_alone)
    assert done.returncode == RepositoryError.exit_code
    assert one_message(done).endswith("did you mean `digits`?")


@pytest.mark.parametrize("command", ["serve", "up", "build", "check", "parity --all"])
def test_a_repository_that_is_not_there_is_one_line(
    command: str, make_settings: MakeSettings, run_conch: RunConch, tmp_path: Path
) -> None:
    done = run_conch(*command.split(), settings=make_settings(tmp_path / "nowhere"))
    assert done.returncode == RepositoryError.exit_code
    assert one_message(done).startswith(f"there is no model repository at {tmp_path / 'nowhere'}: set CONCH_REPOSITORY")


def test_a_setting_that_cannot_be_used_is_one_line(
    make_settings: MakeSettings, run_conch: RunConch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path)
    monkeypatch.setenv("CONCH_STOP_TIMEOUT_S", "soon")
    done = run_conch("serve", settings=settings)
    assert done.returncode == SettingsError.exit_code
    assert one_message(done).startswith("CONCH_STOP_TIMEOUT_S='soon' is not usable: ")


def test_a_state_folder_that_cannot_be_made_is_one_line(
    digits_alone: Settings, run_conch: RunConch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    unusable = digits_alone.model_copy(update={"state": tmp_path / "file" / "state"})
    done = run_conch("build", "--force", settings=unusable)
    assert done.returncode == 1
    assert one_message(done) == f"Not a directory: {tmp_path / 'file' / 'state'}"
