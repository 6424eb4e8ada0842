"""The healer: it watches one server and has brought back what dies, while everything else keeps serving.

Two threads notice. One is told by the kernel when a Python process ends, and sees processes that are stopped. The other
asks every pipeline its golden requests. What they find, the mender repairs in a third.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from conch_client import Client
from conch_tools.healing.control import Control
from conch_tools.healing.diagnosis import Fault, faults_among
from conch_tools.healing.golden import Outcome, Symptom, ask_golden
from conch_tools.healing.journal import Journal
from conch_tools.healing.mender import RELOADING_HELPS, Mender
from conch_tools.healing.needs import Needs
from conch_tools.healing.repair import Repairs
from conch_tools.pipelines import Pipeline
from conch_tools.server import EmbeddedServer
from conch_tools.server.stubs import Stub, is_stopped
from conch_tools.settings import Settings

WATCH_S = 0.5
STOPPED_FOR_S = 2.0
"""A process may be stopped for a moment; one that is for longer answers nobody."""
ABSENT_FOR_S = 1.0
ASKED_AT_ONCE = 4
END_S = 0.5
"""For the healer's threads to end."""
AFTER_FAULT_S = 1.0
UNREACHABLE_FOR_S = 5.0
"""A server whose process lives but that nobody can reach for so long is replaced."""


class Healer:
    """Heals one running server. Use it as a context manager around the time that the server is held."""

    def __init__(
        self, server: EmbeddedServer, settings: Settings, pipelines: Sequence[Pipeline], journal: Journal
    ) -> None:
        self._settings = settings
        self._needs = Needs(pipelines)
        # What fails because the server ends is no news.
        self._journal = dataclasses.replace(
            journal, report=lambda line: None if self._ending.is_set() else journal.report(line)
        )
        self._client = Client(server.grpc_url, timeout_s=settings.golden_timeout_s)
        self._server = server
        self._stubs = server.stubs
        self._repairs = Repairs.of(Control(server.http_url, server.admin_key), settings.start_timeout_s)
        self._mender = Mender(self._repairs, self._stubs, self._has_helped, self._journal)
        self._stopped_since: dict[Stub, float] = {}
        self._silences: dict[str, tuple[float, int]] = {}
        self._unreachable_since: float | None = None
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._until_the_end, args=(step,), name=f"healer-{name}", daemon=True)
            for name, step in (("watch", self._watch), ("golden", self._ask), ("repair", self._mender.mend))
        ]

    @property
    def wish(self) -> str | None:
        """Why a new server is needed; None while it is not."""
        return self._mender.wish

    def __enter__(self) -> Healer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._mender.wake()
        self._client.close()
        deadline = time.monotonic() + END_S
        for thread in self._threads:
            # One that is loading a model ends with the server, which must not wait for it.
            thread.join(max(0.0, deadline - time.monotonic()))

    def _until_the_end(self, step: Callable[[], None]) -> None:
        """What one thread does: a fault of ours, or a server that ends meanwhile, must not end the healing."""
        while not self._ending.is_set():
            try:
                step()
            except Exception as problem:
                self._journal.report(f"healing met {type(problem).__name__}: {problem}")
                self._ending.wait(AFTER_FAULT_S)

    def _watch(self) -> None:
        for stub in self._stubs.wait(WATCH_S):
            if self._mender.has_replaced(stub):
                continue
            self._journal.report(f"a Python process of {self._server.named(stub)} died")
            if not self._mender.doubts(stub) and stub.model:
                self._want(Fault(stub.model, Symptom.DEAD))
        self._mender.mind_doubt()
        for stub in self._long_stopped():
            self._journal.report(f"a Python process of {self._server.named(stub)} is stopped and answers nobody")
            self._want(Fault(stub.model, Symptom.SILENT))

    def _long_stopped(self) -> list[Stub]:
        now = time.monotonic()
        stopped = [stub for stub in self._stubs.all if is_stopped(stub)]
        self._stopped_since = {stub: self._stopped_since.get(stub, now) for stub in stopped}
        return [stub for stub, since in self._stopped_since.items() if now - since >= STOPPED_FOR_S]

    def _ask(self) -> None:
        began = time.monotonic()
        with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="golden") as asking:
            list(asking.map(self._ask_one, self._needs.pipelines))
        self._ending.wait(max(0.0, self._settings.golden_interval_s - (time.monotonic() - began)))

    def _ask_one(self, pipeline: Pipeline) -> None:
        # Read before the answer proves them, because somebody may load a model right after it.
        configs = self._repairs.configs_now((pipeline.name, *pipeline.models))
        outcome = self._asked(pipeline)
        if outcome.symptom is Symptom.ABSENT:
            # Whoever loads several models leaves an ensemble without one of them for a moment.
            self._ending.wait(ABSENT_FOR_S)
            outcome = self._asked(pipeline)
        if outcome.symptom is Symptom.WELL:
            self._repairs.remember(configs)
        elif not self._ending.is_set():
            self._look_into(pipeline, outcome)

    def _asked(self, pipeline: Pipeline) -> Outcome:
        """Ask a pipeline and take down what came of it."""
        models = (pipeline.name, *self._needs.of(pipeline))
        while True:
            began = time.monotonic()
            outcome = ask_golden(self._client, pipeline, self._settings.golden_timeout_s)
            if outcome.symptom is not Symptom.DEAD or not self._mender.repaired_since(models, began):
                break
            # It met what is no longer there: what waits at a dead process is told so only after a second or two.
        if not self._ending.is_set():
            self._journal.asked(pipeline.name, outcome)
        return outcome

    def _look_into(self, pipeline: Pipeline, outcome: Outcome) -> None:
        """Find what is to blame for a golden request that is not well, and have it repaired."""
        if outcome.symptom is Symptom.UNASKED:
            # Nothing is known of the pipeline, and no loading brings a file back.
            return
        if outcome.symptom is Symptom.UNREACHABLE:
            self._mind_unreachable()
            return
        self._unreachable_since = None
        needs = self._needs.of(pipeline)
        faults = faults_among(self._client, needs, self._stubs.of(needs), self._settings.golden_timeout_s)
        if not faults and outcome.symptom is Symptom.ABSENT:
            faults = [Fault(pipeline.name, Symptom.ABSENT)]
        elif not faults and outcome.symptom in (Symptom.WRONG, Symptom.FAILING):
            faults = [Fault(model, outcome.symptom) for model in pipeline.models]
        elif not faults and outcome.symptom is Symptom.SILENT and self._is_stuck(pipeline.name, needs):
            faults = [Fault(model, Symptom.SILENT) for model in needs]
        for fault in faults:
            self._want(fault)

    def _want(self, fault: Fault) -> None:
        if self._settings.heal:
            self._mender.want(fault)

    def _is_stuck(self, pipeline: str, needs: Sequence[str]) -> bool:
        """Whether a pipeline has been silent for the busy limit while none of its models completed anything."""
        now = time.monotonic()
        done = sum(each.success.count for model in needs for each in self._client.statistics(model))
        since, before = self._silences.setdefault(pipeline, (now, done))
        if done != before:
            self._silences[pipeline] = (now, done)
            return False
        return now - since >= self._settings.busy_limit_s

    def _mind_unreachable(self) -> None:
        now = time.monotonic()
        self._unreachable_since = self._unreachable_since or now
        if now - self._unreachable_since >= UNREACHABLE_FOR_S:
            self._mender.wish = f"it answers nobody since {UNREACHABLE_FOR_S:g} s"

    def _has_helped(self, fault: Fault) -> bool:
        """Whether the model answers again; after a wrong answer, whether those are right that need it."""
        outcomes = [self._asked(pipeline) for pipeline in self._needs.needing(fault.model)]
        if all(outcome.symptom is Symptom.WELL for outcome in outcomes):
            return True
        # Another of its pipeline's models may be dead as well.
        return fault.symptom in RELOADING_HELPS and not faults_among(
            self._client, [fault.model], self._stubs.of([fault.model]), self._settings.golden_timeout_s
        )
