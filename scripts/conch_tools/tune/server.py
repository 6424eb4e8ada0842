"""A server of its own that is given one candidate after the other, and asked for nothing but the truth.

Only the models whose configuration changes are loaded anew, through Triton's load API and with the configuration in the
request: a second or two instead of a new server, and no file of the repository is touched. A candidate counts only if
it answers the pipeline's golden requests as it must, before the load and after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import psutil

from conch_client import Client
from conch_tools.bench.others import OthersLoad
from conch_tools.healing.control import Control, ControlFailed
from conch_tools.healing.golden import Symptom, ask_golden
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.memory import memory_of
from conch_tools.settings import Settings
from conch_tools.tune.configs import as_json
from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.figures import Measurement, step_figures
from conch_tools.tune.plan import Plan
from conch_tools.tune.space import Candidate
from conch_tools.tune.traffic import Address, Generator

SETTLE_S = 3.0
"""What the processes of a model that was loaded anew may take to be gone; they would fall into the next turn."""
LOOK_S = 0.1
LOAD_MARGIN_S, LOAD_FACTOR = 20.0, 3.0
"""How long a model may take to load: so many seconds, and so many times what the whole server took. Triton waits for
ever for a process that died while loading."""
POLLED, POLL_FAILED = "failed to poll", "Poll failed for model directory"
"""In what Triton answers when it says no more than that, and in the line of its log that says the rest."""
LOG_S = 1.0


class TuningServer:
    """Serves one candidate at a time, with settings of its own (`own_settings`). Use it as a context manager."""

    def __init__(self, settings: Settings, plan: Plan, generator: Callable[[Address], Generator]) -> None:
        self._settings = settings
        self._server = EmbeddedServer(ServerOptions(settings, models=plan.models))
        self._plan = plan
        self._control = Control(self._server.http_url, self._server.admin_key)
        self._generator = generator(Address(settings.host, settings.http_port, self._server.grpc_url))
        self._loaded: dict[str, dict[str, Any]] = {}
        self._load_timeout_s = LOAD_MARGIN_S

    def __enter__(self) -> TuningServer:
        started = time.monotonic()
        self._server.start()
        self._load_timeout_s = LOAD_MARGIN_S + LOAD_FACTOR * (time.monotonic() - started)
        self._loaded = self._configs(self._plan.current)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def measure(self, candidate: Candidate, seconds: float, concurrency: int) -> Measurement:
        """One turn.

        Raises CandidateRejected, with the reason, when the candidate does not load, a request fails or an answer is
        wrong; the server is then ready for the next one. Raises ServerFailed when it cannot be started anew.
        """
        try:
            self._apply(candidate)
            self._require_golden()
            return self._turn(candidate, seconds, concurrency)
        except (CandidateRejected, ControlFailed) as problem:
            # After a failure nothing is known of the server: the next candidate gets a new one.
            self._server.restart()
            self._loaded = self._configs(self._plan.current)
            raise CandidateRejected(str(problem)) from problem

    def most_instances(self) -> dict[str, int]:
        """Of each step that runs in processes of its own, how many of them half of the free memory has room for."""
        free = psutil.virtual_memory().available
        found = {}
        for step in self._plan.current.steps:
            sizes = [memory_of(stub.pid).bytes for stub in self._server.stubs.of([step.model])]
            if sizes:
                found[step.model] = max(step.instances, free // 2 // max(1, *sizes))
        return found

    def _turn(self, candidate: Candidate, seconds: float, concurrency: int) -> Measurement:
        everyone = (*candidate.steps, *self._plan.neighbours)
        before = {step.model: self._control.statistics(step.model) for step in everyone}
        others, started = OthersLoad(), time.monotonic()
        traffic = self._generator.run(concurrency, seconds)
        elapsed, foreign = time.monotonic() - started, others.cores()
        steps = [
            step_figures(before[step.model], self._control.statistics(step.model), elapsed, step.instances)
            for step in everyone
        ]
        self._require_golden()
        return Measurement(traffic, tuple(steps), foreign)

    def _apply(self, candidate: Candidate) -> None:
        """Load what is not loaded so. Raises CandidateRejected with Triton's words."""
        wanted = self._configs(candidate)
        changed = [model for model in wanted if wanted[model] != self._loaded.get(model)]
        for model in _in_safe_order(changed, self._plan.pipeline.name, wanted, self._loaded):
            try:
                self._control.load(model, wanted[model], self._load_timeout_s)
            except ControlFailed as problem:
                raise CandidateRejected(self._in_tritons_words(str(problem))) from problem
            self._loaded[model] = wanted[model]
        if changed:
            self._settle(candidate)

    def _settle(self, candidate: Candidate) -> None:
        """Wait until the processes of what was replaced are gone, and no process is missing."""
        stubs, deadline = self._server.stubs, time.monotonic() + SETTLE_S
        stubs.look()
        while time.monotonic() < deadline:
            if died := stubs.wait(LOOK_S):
                raise CandidateRejected(f"a process of {self._server.named(died[0])} died while it was loading")
            if all(len(stubs.of([step.model])) == step.instances for step in candidate.steps):
                return

    def _require_golden(self) -> None:
        with Client(self._server.grpc_url, timeout_s=self._settings.answer_timeout_s) as client:
            outcome = ask_golden(client, self._plan.pipeline, self._settings.answer_timeout_s)
        if outcome.symptom is not Symptom.WELL:
            raise CandidateRejected(f"{outcome.symptom.value}: {outcome.problem}")

    def _configs(self, candidate: Candidate) -> dict[str, dict[str, Any]]:
        return {model: as_json(config) for model, config in self._plan.configs(candidate).items()}

    def _in_tritons_words(self, problem: str) -> str:
        """What Triton refused, from its log where the answer says nothing; the log may come a moment later."""
        deadline = time.monotonic() + LOG_S
        while POLLED in problem and time.monotonic() < deadline:
            said = next((line for line in reversed(self._server.log) if POLL_FAILED in line), None)
            if said is not None:
                return said.partition(POLL_FAILED)[2].partition(": ")[2].strip('"')
            time.sleep(LOOK_S)
        return problem


def _in_safe_order(
    changed: list[str], ensemble: str, wanted: Mapping[str, Any], loaded: Mapping[str, Any]
) -> list[str]:
    """Triton gives up an ensemble whose batch is larger than a step's: it grows last and shrinks first."""
    if ensemble not in changed:
        return changed
    steps = [model for model in changed if model != ensemble]
    before = int(loaded.get(ensemble, {}).get("max_batch_size", 0))
    grows = int(wanted[ensemble].get("max_batch_size", 0)) >= before
    return [*steps, ensemble] if grows else [ensemble, *steps]
