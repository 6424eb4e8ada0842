"""What the integration tests share: one server over the project's own pipelines, small servers and `conch` processes of
a test's own, and the proof that none of them leaves anything behind.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from conch_tools.pipelines import FIRST_VERSION, load_pipelines, models_of
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings

AddModel = Callable[..., Path]
MakeSettings = Callable[..., Settings]
StartTriton = Callable[..., EmbeddedServer]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
StartConch = Callable[..., "subprocess.Popen[str]"]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

SESSION_VARIABLE = "TESTS_OF_CONCH"
"""Marks, in the environment, every process that the tests start, however far down."""

SMALL_CONFIG = """
backend: "{backend}"
max_batch_size: 8
input [{{ name: "logits" data_type: TYPE_FP32 dims: [2] }}]
output [
  {{ name: "label" data_type: TYPE_STRING dims: [-1] }},
  {{ name: "score" data_type: TYPE_FP32 dims: [-1] }}
]
instance_group [{{ count: 1 }}]
"""
SLOW_MODEL = """
import time


class TritonPythonModel:
    def initialize(self, args):
        time.sleep(60)

    def execute(self, requests):
        return [None for _ in requests]
"""
END_WAIT_S = 30.0
COMMAND_TIMEOUT_S = 120.0
PLACES = (Path(tempfile.gettempdir()), Path("/dev/shm"))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """At the end of all tests: no server, no stub, no shared memory and no temporary folder of theirs is there.

    What another test process has just killed looks like left behind, until its own test has swept it up.
    """
    before = _leftovers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SESSION_VARIABLE, secrets.token_hex(8))
        yield
        deadline = time.monotonic() + END_WAIT_S
        while _our_servers() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _our_servers()
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    while _leftovers() - before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not _leftovers() - before


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server over the project's pipelines, for all tests that only ask it questions."""
    pipelines = load_pipelines(Settings().repository)
    unbuilt = [each.name for each in pipelines if not (each.folder / FIRST_VERSION / "manifest.json").is_file()]
    if unbuilt:
        pytest.fail(f"not built: {', '.join(unbuilt)}. Run `conch build` first, as scripts/test does", pytrace=False)
    settings = _settings(tmp_path_factory.mktemp("triton"), Settings().repository)
    with EmbeddedServer(ServerOptions(settings, models=models_of(pipelines))) as server:
        yield server


@pytest.fixture(scope="session")
def add_model() -> AddModel:
    """Write a model of one Python step and no weights, the smallest that there is; returns its version folder."""

    def add(repository: Path, name: str, backend: str = "class_labels") -> Path:
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(SMALL_CONFIG.format(backend=backend))
        (version / "labels.txt").write_text("no\nyes\n")
        return version

    return add


@pytest.fixture
def slow_repository(add_model: AddModel, tmp_path: Path) -> Path:
    """A repository with one model, `sleeper`, that takes a minute to load."""
    (add_model(tmp_path / "repository", "sleeper", backend="python") / "model.py").write_text(SLOW_MODEL)
    return tmp_path / "repository"


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings for a repository on free ports, with a state folder of their own."""

    def make(repository: Path, **overrides: object) -> Settings:
        return _settings(tmp_path, repository, **overrides)

    return make


@pytest.fixture(scope="session")
def make_module_settings() -> MakeSettings:
    """Settings for a state folder and a repository on free ports, for fixtures that outlive a test."""
    return _settings


@pytest.fixture(scope="module")
def start_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartTriton]:
    """Start a server over a small repository; it runs until it is stopped or the module's last test has ended."""
    started: list[EmbeddedServer] = []

    def start(repository: Path, models: Sequence[str] = ("*",), **overrides: object) -> EmbeddedServer:
        settings = _settings(tmp_path_factory.mktemp("triton"), repository, **{"stop_timeout_s": 1.5, **overrides})
        server = EmbeddedServer(ServerOptions(settings, models=models))
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def spawn_conch() -> SpawnConch:
    """Start a `conch` command in a process of its own, its output at the end of a log; whoever spawns it ends it."""

    def spawn(*arguments: str, settings: Settings, log: Path) -> subprocess.Popen[str]:
        with log.open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "conch_tools", *arguments],
                env=_environment(settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    return spawn


@contextmanager
def conch_serve(
    spawn_conch: SpawnConch, settings: Settings, log: Path, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """A `conch serve`, started but perhaps not ready yet, that is ended with the block."""
    process = spawn_conch("serve", *arguments, settings=settings, log=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture
def start_conch(tmp_path: Path, spawn_conch: SpawnConch) -> Iterator[StartConch]:
    """Start a `conch` command that ends with the test, its output in the file `conch.log` of the test's folder."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, settings: Settings) -> subprocess.Popen[str]:
        started.append(spawn_conch(*arguments, settings=settings, log=tmp_path / "conch.log"))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_WAIT_S)


@pytest.fixture
def run_conch() -> RunConch:
    """Run a `conch` command to its end, within COMMAND_TIMEOUT_S."""

    def run(*arguments: str, settings: Settings) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "conch_tools", *arguments],
            env=_environment(settings),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )

    return run


@pytest.fixture
def wait_until() -> WaitUntil:
    """Wait, for a limited time, until a condition holds; fail saying what did not come true."""

    def wait(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:g} s: {what}")
            time.sleep(0.05)

    return wait


def _settings(folder: Path, repository: Path, **overrides: object) -> Settings:
    http_port, grpc_port, metrics_port, health_port = free_ports(4)
    values: dict[str, object] = {
        "repository": repository,
        "state": folder / "state",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "health_port": health_port,
        "start_timeout_s": COMMAND_TIMEOUT_S,
    }
    return Settings.model_validate(values | overrides)


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings that differ from the defaults."""
    own = settings.model_dump(exclude_defaults=True)
    return {**os.environ, **{f"CONCH_{name.upper()}": str(value) for name, value in own.items()}}


def _our_servers() -> list[str]:
    """Command lines of the servers and Python steps that this session started and that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.name().startswith("triton")
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(SESSION_VARIABLE) == os.environ[SESSION_VARIABLE]
            ):
                found.append(" ".join(process.cmdline()[:2]))
        except psutil.Error:
            continue
    return found


def _leftovers() -> set[Path]:
    """Shared memory and folders of servers whose owner is this process, or is gone."""
    entries = {entry: int(entry.name.split("-")[1]) for place in PLACES for entry in place.glob("conch-[0-9]*-*")}
    return {entry for entry, owner in entries.items() if owner == os.getpid() or not psutil.pid_exists(owner)}
