"""One embedded tritonserver: start, wait, stop, with a limit on every wait.

The server runs in a process group of its own, so that Ctrl-C in a terminal reaches only us and one signal reaches all
of its Python stubs; it is told by the kernel to die with us, so that a killed `conch` leaves no server behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from conch_tools.errors import ServerFailed
from conch_tools.lifeline import die_with_parent
from conch_tools.server.failure import dead, how_it_ended, load_failures, unfinished
from conch_tools.server.ports import listens_on_all, require_ports
from conch_tools.server.stubs import Stub, Stubs
from conch_tools.server.wheel import TritonWheel, find_wheel
from conch_tools.server.workspace import Workspace
from conch_tools.settings import Settings

ADMIN_HEADER = "conch-admin-key"
ADMIN_KEY_BYTES = 32
RESTRICTED_APIS = "shared-memory,model-repository,trace,logging"
READY_POLL_S = 0.05
KILL_WAIT_S = 2.0
EXIT_MARGIN_S = 1.5
LOG_LINES_KEPT = 2000


@dataclass(frozen=True)
class ServerOptions:
    """What one server serves and where it listens. Ports of 127.0.0.1 by default; see Settings for their meaning."""

    settings: Settings
    models: Sequence[str] = ("*",)
    """Models loaded at the start; an ensemble brings its steps along. ("*",) is all of them."""
    auto_complete: bool = True
    """Whether backends are asked what configurations leave out. For that Triton starts each Python model once more and
    waits a second for its end, so models load in a fraction of the time where it need not."""
    on_log: Callable[[str], None] | None = None
    """Called with every line of Triton's log, from a thread of the server's own."""
    extra_arguments: Sequence[str] = field(default_factory=tuple)
    """Further arguments for tritonserver, taken as they are."""


class EmbeddedServer:
    """A running tritonserver. Use it as a context manager, or call start() and stop()."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._settings = options.settings
        self.admin_key = secrets.token_urlsafe(ADMIN_KEY_BYTES)
        """The value of the header ADMIN_HEADER that opens this server's restricted endpoints."""
        self._log: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._process: subprocess.Popen[str] | None = None
        self._stubs: Stubs | None = None
        self._workspace: Workspace | None = None
        self._reader: threading.Thread | None = None

    @property
    def http_url(self) -> str:
        """host:port of the HTTP endpoint, the form tritonclient takes."""
        return f"{self._settings.host}:{self._settings.http_port}"

    @property
    def grpc_url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{self._settings.host}:{self._settings.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics."""
        return f"http://{self._settings.host}:{self._settings.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        return self._running_process.pid

    @property
    def log(self) -> list[str]:
        """The last lines of Triton's log."""
        return list(self._log)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start tritonserver and return once every model is ready.

        Call it from a thread that outlives the server: when that thread ends, the kernel ends the server.

        Raises PortTaken, SettingsError, UnsuitableMachine, or ServerFailed with what Triton said of the models that
        did not load.
        """
        settings = self._settings
        wheel = find_wheel()
        require_ports(settings)
        self._workspace = Workspace(wheel, settings.repository, settings.backends)
        try:
            self._process = subprocess.Popen(
                [str(wheel.server), *self._arguments(wheel, self._workspace)],
                env=_environment(wheel, settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            self._reader = threading.Thread(
                target=self._read_log, args=(self._process, self._workspace), name="triton-log", daemon=True
            )
            self._reader.start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for tritonserver to end by itself; its exit code, or None when the time is over."""
        try:
            return self._running_process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    @property
    def stubs(self) -> Stubs:
        """The server's Python processes."""
        if self._stubs is None:
            raise ServerFailed("tritonserver is not running: start() it first")
        return self._stubs

    def named(self, stub: Stub) -> str:
        """The model that a Python process serves, with the file that it runs, for messages."""
        return self._named(stub.model, stub.version) if stub.model else "a model"

    def restart(self, models: Sequence[str] | None = None) -> None:
        """Stop what is left of the server and start it anew, on the same ports and with the same admin key; with other
        models, if any are named. Raises what start() raises."""
        self.stop()
        if models is not None:
            self.options = replace(self.options, models=models)
        self.start()

    def stop(self) -> None:
        """Stop the server and everything it started, within `stop_timeout_s`. May be called more than once. Whatever
        interrupts it, a signal say, processes and files are gone afterwards. Raises ServerFailed when the server does
        not end even when it is killed."""
        try:
            if self._stubs is not None:
                self._stubs.close()
            if self._process is not None:
                self._end(self._process)
        finally:
            if self._reader is not None:
                # The log ends with the last process that writes to it.
                self._reader.join(KILL_WAIT_S)
            if self._workspace is not None:
                self._workspace.remove()
            # Last, so that one that was interrupted here can be stopped once more.
            self._process = self._workspace = self._stubs = None

    def _end(self, process: subprocess.Popen[str]) -> None:
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._settings.stop_timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(KILL_WAIT_S)
        except subprocess.TimeoutExpired as problem:
            raise ServerFailed(
                f"tritonserver (process {process.pid}) does not end, even killed: it may hang in the kernel"
            ) from problem

    def _arguments(self, wheel: TritonWheel, workspace: Workspace) -> list[str]:
        settings = self._settings
        arguments = [
            f"--model-repository={workspace.repository}",
            f"--backend-directory={workspace.backends}",
            f"--cache-directory={wheel.caches}",
            f"--http-address={settings.host}",
            f"--http-port={settings.http_port}",
            f"--grpc-address={settings.host}",
            f"--grpc-port={settings.grpc_port}",
            f"--metrics-address={settings.host}",
            f"--metrics-port={settings.metrics_port}",
            f"--http-restricted-api={RESTRICTED_APIS}:{ADMIN_HEADER}={self.admin_key}",
            f"--grpc-restricted-protocol={RESTRICTED_APIS}:{ADMIN_HEADER}={self.admin_key}",
            f"--backend-config=python,shm-region-prefix-name={workspace.shared_memory_prefix}",
            f"--exit-timeout-secs={max(1, int(settings.stop_timeout_s - EXIT_MARGIN_S))}",
            # Where traces go can be said only here; nothing is traced until the trace API asks for it.
            f"--trace-config=triton,file={workspace.traces}",
            "--trace-config=level=OFF",
            "--model-control-mode=explicit",
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            *(f"--load-model={model}" for model in self.options.models),
            *self.options.extra_arguments,
        ]
        if not self.options.auto_complete:
            arguments.append("--disable-auto-complete-config")
        if settings.response_cache_bytes:
            arguments.append(f"--cache-config=local,size={settings.response_cache_bytes}")
        if settings.profile:
            arguments.append(f"--model-config-name={settings.profile}")
        return arguments

    def _read_log(self, process: subprocess.Popen[str], workspace: Workspace) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for raw in lines:
                line = workspace.in_source_terms(raw.rstrip("\n"))
                self._log.append(line)
                if self.options.on_log is not None:
                    # Whoever read our log may have gone; a server whose own log nobody takes would stand still.
                    with contextlib.suppress(OSError, ValueError):
                        self.options.on_log(line)

    def _wait_until_ready(self) -> None:
        stubs = self._stubs = Stubs(self._running_process.pid)
        deadline = time.monotonic() + self._settings.start_timeout_s
        while time.monotonic() < deadline:
            code = self._running_process.poll()
            if code is not None:
                if self._reader is not None:
                    self._reader.join(KILL_WAIT_S)
                # Another server may have taken a port since we looked.
                require_ports(self._settings)
                raise ServerFailed(self._why_it_ended(code))
            if self._is_ready():
                # Whoever dies from now on is known.
                stubs.look()
                return
            if died := {**{stub.model: stub.version for stub in stubs.wait(READY_POLL_S)}, **dead(self.log)}:
                raise ServerFailed(
                    f"a Python process died while it was loading {self._named_or_loading(died)}: "
                    "it ran out of memory, or its own code ended it"
                )
        raise ServerFailed(
            f"tritonserver was not ready within {self._settings.start_timeout_s:.0f} s, it is still loading "
            f"{self._still_loading()}: raise CONCH_START_TIMEOUT_S, or serve fewer pipelines with --only"
        )

    def _is_ready(self) -> bool:
        """Whether the models are loaded. What answers may be another server, which took the ports before ours could."""
        answers = _answers(f"http://{self.http_url}/v2/health/ready")
        return answers and listens_on_all(self._running_process.pid, self._settings)

    def _why_it_ended(self, code: int) -> str:
        failures = load_failures(self._log, self._running_workspace.backend_file)
        if failures:
            return "\n".join(["tritonserver refused the repository:", *failures])
        last = next((line for line in reversed(self._log) if line.strip()), "it logged nothing")
        return f"tritonserver {how_it_ended(code)} before it was ready; its last words: {last}"

    def _named_or_loading(self, died: Mapping[str, str]) -> str:
        """The models of dead processes, with their versions; all that are being loaded for one that was not known."""
        return self._still_loading() if "" in died else self._all_named(died)

    def _still_loading(self) -> str:
        return self._all_named(unfinished(self.log)) or "the models"

    def _all_named(self, models: Mapping[str, str]) -> str:
        return ", ".join(self._named(model, version) for model, version in sorted(models.items()))

    def _named(self, model: str, version: str) -> str:
        file = self._running_workspace.backend_file(model, version)
        return f"model `{model}`" + (f" ({file})" if file else "")

    @property
    def _running_process(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ServerFailed("tritonserver is not running: start() it first")
        return self._process

    @property
    def _running_workspace(self) -> Workspace:
        if self._workspace is None:
            raise ServerFailed("tritonserver is not running: start() it first")
        return self._workspace


def _environment(wheel: TritonWheel, settings: Settings) -> dict[str, str]:
    """The server's environment: its libraries, for the stubs this very Python with the backends' packages, and the one
    setting that steps read: where they may keep what must outlive the server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CONCH_", "PYTHON"))}
    return {
        **inherited,
        "LD_LIBRARY_PATH": ":".join(str(folder) for folder in wheel.libraries),
        # The stub becomes the first python3 on PATH, with that environment's packages.
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(settings.backends.resolve()),
        "CONCH_STATE": str(settings.state.resolve()),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _answers(url: str) -> bool:
    # Never through a proxy from the environment: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
