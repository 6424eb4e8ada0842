"""Start a server in this process, or one in the background: what `conch serve` and `conch up` share."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from conch_tools.check import check_repository
from conch_tools.check.findings import Finding, Severity
from conch_tools.check.repository import load_repository, profiles_of
from conch_tools.check.served import needs_completion
from conch_tools.errors import AlreadyRunning, ConchError, RepositoryError, ServerFailed, SettingsError
from conch_tools.pipelines import Pipeline, load_pipelines, models_of, pipeline_folders, visible_folders
from conch_tools.releases.folders import as_served
from conch_tools.releases.signatures import require_signed
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.ports import require_health_port, require_ports
from conch_tools.server.record import ServerRecord, record_of_this_process
from conch_tools.settings import Settings
from conch_tools.signals import SIGNAL_EXIT_CODE, Stopped, ignore_signals, signals_raise_stopped

Report = Callable[[str], None]
POLL_S = 0.2
SHOWN_FINDINGS = 5
BUILD_RULES = "PIP"
"""Codes of the rules about what builds and samples need: a server runs without."""
LOG_TAIL_BYTES = 20_000
DETACHED_FAILURE_MARK = "conch: "


class StoppedEarly(ConchError):
    """A signal asked us to stop before everything was up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = SIGNAL_EXIT_CODE + number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name} before everything was up"


@contextlib.contextmanager
def serving(
    settings: Settings, only: Sequence[str], on_log: Callable[[str], None] | None = None
) -> Iterator[EmbeddedServer]:
    """A server over the pipelines named (all of them when none is), recorded so that others find and stop it.

    When a signal asks for the end, Stopped is raised inside the block; left there, it comes out as StoppedEarly. Raises
    also AlreadyRunning, RepositoryError with what `conch check` finds, or what EmbeddedServer.start raises.
    """
    running = ServerRecord.read(settings)
    if running is not None:
        raise AlreadyRunning(running.pid, settings.http_port)
    require_ports(settings)
    require_health_port(settings)
    require_repository(settings)
    pipelines = served_pipelines(settings, only)
    models = served_models(settings, pipelines)
    require_sound(settings, models)
    require_signed(settings, pipelines)
    options = ServerOptions(settings, models=models, auto_complete=needs_auto_complete(settings), on_log=on_log)
    try:
        with signals_raise_stopped(), EmbeddedServer(options) as server, _recorded(server, settings):
            try:
                yield server
            finally:
                ignore_signals()
    except Stopped as stop:
        raise StoppedEarly(stop.number) from stop


@contextlib.contextmanager
def _recorded(server: EmbeddedServer, settings: Settings) -> Iterator[None]:
    record = record_of_this_process(
        settings, server.http_url, server.grpc_url, server.metrics_url, f"{settings.host}:{settings.health_port}"
    )
    try:
        record.write(settings, server.admin_key)
        yield
    finally:
        record.remove(settings)


def served_pipelines(settings: Settings, only: Sequence[str]) -> list[Pipeline]:
    """The pipelines that are served with these options, with their releases and those that they use; none of a
    repository that has no pipelines."""
    if not only and not pipeline_folders(settings.repository):
        return []
    return [as_served(each, settings.profile) for each in load_pipelines(settings.repository, only, releases=True)]


def served_models(settings: Settings, pipelines: Sequence[Pipeline]) -> list[str]:
    """What Triton is told to load: the pipelines with their steps; a repository without pipelines whole.

    By their names even then, because Triton's own "all" takes hidden folders for models.
    """
    return models_of(pipelines) if pipelines else [path.name for path in visible_folders(settings.repository)]


def require_repository(settings: Settings) -> None:
    """Raise RepositoryError unless the repository is there, SettingsError for a profile that no model in it has."""
    cure = "set CONCH_REPOSITORY to a folder that holds one folder a model"
    if not settings.repository.exists():
        raise RepositoryError(f"there is no model repository at {settings.repository}: {cure}")
    if not settings.repository.is_dir():
        raise RepositoryError(f"{settings.repository} is a file, no model repository: {cure}")
    if not visible_folders(settings.repository):
        raise RepositoryError(f"the model repository {settings.repository} is empty: {cure}")
    profiles = profiles_of(settings.repository)
    if settings.profile is not None and settings.profile not in profiles:
        known = ", ".join(profiles) or "none at all"
        raise SettingsError(
            f"no model of {settings.repository} has a profile `{settings.profile}` "
            f"(configs/{settings.profile}.pbtxt); there is {known}"
        )


def require_sound(settings: Settings, models: Sequence[str]) -> None:
    """Raise RepositoryError with the errors that `conch check` finds in what is to be served.

    The hashes of artifacts are left to the steps, which compare them when they load: a second reading would cost a
    restart a second or so a gigabyte.
    """
    require_repository(settings)
    errors = [
        finding
        for finding in check_repository(
            settings.repository, settings.backends, profiles=[settings.profile], hashed=False
        )
        if finding.severity is Severity.ERROR
        and not finding.code.startswith(BUILD_RULES)
        and _concerns(finding.file, settings.repository, models)
    ]
    if errors:
        shown = [f"{_place(each)}: {each.what} ({each.cure})" for each in errors[:SHOWN_FINDINGS]]
        more = len(errors) - len(shown)
        rest = [f"and {more} more: conch check {settings.repository}"] if more else []
        raise RepositoryError("\n".join(["the model repository cannot be served:", *shown, *rest]))


def needs_auto_complete(settings: Settings) -> bool:
    """Whether a configuration of the repository may leave out what its backend is to add."""
    return needs_completion(load_repository(settings.repository, settings.backends, settings.profile, hashed=False))


def _place(finding: Finding) -> str:
    return str(finding.file) if finding.line is None else f"{finding.file}:{finding.line}"


def _concerns(file: Path, repository: Path, models: Sequence[str]) -> bool:
    """Whether a finding's file belongs to one of the pipelines served; an unrelated half-built one does not matter."""
    try:
        model = file.resolve().relative_to(repository.resolve()).parts[0]
    except (ValueError, IndexError):
        return True
    return any(model == name or model.startswith(f"{name}_") for name in models)


def start_detached(settings: Settings, only: Sequence[str]) -> ServerRecord:
    """Start `conch serve` in the background and return once it is ready. Raises ServerFailed with its last words."""
    running = ServerRecord.read(settings)
    if running is not None:
        raise AlreadyRunning(running.pid, settings.http_port)
    settings.state.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "conch_tools", "serve", *(f"--only={name}" for name in only)]
    if settings.profile is not None:
        command.append(f"--profile={settings.profile}")
    with log_path(settings).open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return _await_record(settings, process)
    except BaseException:
        # After Ctrl-C as well: a server that nobody waited for would keep the ports.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(settings.stop_timeout_s)
        raise


def _await_record(settings: Settings, process: subprocess.Popen[bytes]) -> ServerRecord:
    log = log_path(settings)
    deadline = time.monotonic() + settings.start_timeout_s + settings.stop_timeout_s
    while time.monotonic() < deadline:
        record = ServerRecord.read(settings)
        if record is not None and record.pid == process.pid:
            return record
        if process.poll() is not None:
            raise ServerFailed(f"{_last_words(log)}\n(the whole log: {log})")
        time.sleep(POLL_S)
    raise ServerFailed(f"the server was not ready in time; its log: {log}")


def log_path(settings: Settings) -> Path:
    """The log of a detached server."""
    return settings.state / f"server-{settings.http_port}.log"


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    _, mark, said = tail.rpartition(f"\n{DETACHED_FAILURE_MARK}")
    if mark:
        return said.strip()
    return tail.strip().removeprefix(DETACHED_FAILURE_MARK) or "the server ended without a word"
