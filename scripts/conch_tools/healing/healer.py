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
from conch_tools.healing.diagnosis import Diagnosis, Fault, diagnosed
from conch_tools.healing.golden import Outcome, Symptom, ask_golden, golden_samples
from conch_tools.healing.journal import Journal
from conch_tools.healing.loads import Loads
from conch_tools.healing.mender import RELOADING_HELPS, Mender
from conch_tools.healing.needs import Needs
from conch_tools.healing.repair import Repairs
from conch_tools.healing.silence import UNREACHABLE_FOR_S, Reach, Silences, Stops
from conch_tools.healing.wishes import Wishes
from conch_tools.pipelines import Pipeline, models_of
from conch_tools.releases.folders import pipelines_named
from conch_tools.releases.switch import hold
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

WATCH_S = 0.5
ASKED_AGAIN_AFTER_S = 1.0
"""Whoever loads several models leaves an ensemble without one of them for a moment, and a connection may break."""
ASKED_AT_ONCE = 4
END_S = 0.5
"""For the healer's threads to end."""
AFTER_FAULT_S = 1.0
LIVE_WITHIN_S = 5.0
"""For Triton's word that it lives, which needs no model; a machine that is overloaded may be slow to pass it on."""


class Healer:
    """Heals one running server. Use it as a context manager around the time that the server is held."""

    def __init__(
        self,
        server: EmbeddedServer,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        journal: Journal,
        wishes: Wishes,
    ) -> None:
        """Raises ControlFailed when the server does not tell what it has loaded."""
        self._settings = settings
        self._needs = Needs(pipelines)
        # What fails because the server ends is no news.
        self._journal = dataclasses.replace(
            journal, report=lambda line: None if self._ending.is_set() else journal.report(line)
        )
        self._wishes = wishes
        self._client = Client(server.grpc_url, timeout_s=settings.golden_timeout_s)
        self._server = server
        self._server_pid = server.pid
        self._stubs = server.stubs
        control = Control(server.http_url, server.admin_key)
        hold(control, [each.name for each in pipelines], settings.start_timeout_s)
        self._repairs = Repairs.of(control, settings.start_timeout_s)
        self._mender = Mender(self._repairs, self._stubs, self._has_helped, self._journal, wishes)
        self._loads = Loads(settings)
        self._stops = Stops()
        self._silences = Silences(settings.busy_limit_s)
        self._reach = Reach()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._until_the_end, args=(step,), name=f"healer-{name}", daemon=True)
            for name, step in (("watch", self._watch), ("golden", self._ask), ("repair", self._mender.mend))
        ]

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
            self._journal.died(stub.model, self._server.named(stub))
            if not self._mender.doubts(stub) and stub.model:
                self._want(Fault(stub.model, Symptom.DEAD))
        self._mender.mind_doubt()
        self._mind_stops()

    def _mind_stops(self) -> None:
        stubs = {stub.pid: stub for stub in self._stubs.all}
        stopped = self._stops.lasting([self._server_pid, *stubs])
        if self._server_pid in stopped:
            self._journal.report("tritonserver is stopped and answers nobody")
            self._wish("somebody stopped it")
        for stub in [stubs[pid] for pid in stopped if pid in stubs]:
            self._journal.stopped(stub.model, self._server.named(stub))
            self._want(Fault(stub.model, Symptom.SILENT))

    def _ask(self) -> None:
        began = time.monotonic()
        served = self._loads.take()
        if served is not None:
            self._read_again(served)
        with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="golden") as asking:
            list(asking.map(self._ask_one, self._needs.pipelines))
        self._ending.wait(max(0.0, self._settings.golden_interval_s - (time.monotonic() - began)))

    def _read_again(self, served: Sequence[str]) -> None:
        """What `conch load` brought in and proved is what is to be from now on: the pipelines that are served, the
        answers that they must give, and the configurations."""
        pipelines = pipelines_named(self._settings.repository, served, self._settings.profile)
        self._journal.serves(pipelines)
        in_memory = set(self._journal.health.in_memory())
        pipelines = [each for each in pipelines if each.name in in_memory]
        self._needs = Needs(pipelines)
        self._repairs.remember_all(models_of(pipelines))

    def _ask_one(self, pipeline: Pipeline) -> None:
        # Read before the answer proves them, because somebody may load a model right after it.
        configs = self._repairs.configs_now((pipeline.name, *pipeline.models))
        outcome = self._asked(pipeline)
        if outcome.symptom in (Symptom.ABSENT, Symptom.UNREACHABLE):
            self._ending.wait(ASKED_AGAIN_AFTER_S)
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
            with self._journal.uses.golden(pipeline.name, len(golden_samples(pipeline))) as answered:
                outcome = ask_golden(self._client, pipeline, self._settings.golden_timeout_s)
                answered(outcome.answered)
            if outcome.symptom is not Symptom.DEAD or not self._mender.repaired_since(models, began):
                break
            # It met what is no longer there: what waits at a dead process is told so only after a second or two.
        if not self._ending.is_set():
            self._journal.asked(pipeline.name, outcome)
        if outcome.symptom is Symptom.WELL:
            self._reach.found()
            self._silences.ended(pipeline.name)
            self._wishes.well(models)
        return outcome

    def _look_into(self, pipeline: Pipeline, outcome: Outcome) -> None:
        """Find what is to blame for a golden request that is not well, and have it repaired."""
        if outcome.symptom is Symptom.UNASKED:
            # Nothing is known of the pipeline, and no loading brings a file back.
            return
        if outcome.symptom in (Symptom.SILENT, Symptom.UNREACHABLE):
            if not self._client.is_live(timeout_s=LIVE_WITHIN_S):
                if self._reach.lost():
                    self._wish(f"it answers nobody since {UNREACHABLE_FOR_S:g} s")
                return
            self._reach.found()
        needs = self._needs.of(pipeline)
        found = diagnosed(self._client, needs, self._stubs.of(needs), self._settings.golden_timeout_s)
        for fault in found.faults or self._faults_of_all(pipeline, outcome, found):
            self._want(fault)

    def _faults_of_all(self, pipeline: Pipeline, outcome: Outcome, found: Diagnosis) -> list[Fault]:
        """What is to be repaired of a pipeline that is not well though none of its models alone is to blame."""
        if outcome.symptom is Symptom.ABSENT:
            ensembles = self._needs.ensembles_of(pipeline)
            absent = [each for each in ensembles if not self._client.model_ready(each)] or [pipeline.name]
            return [Fault(each, Symptom.ABSENT) for each in absent]
        if outcome.symptom is Symptom.SILENT:
            completed = sum(each.success.count for each in self._client.statistics(pipeline.name))
            if not self._silences.is_stuck(pipeline.name, completed):
                return []
            self._silences.ended(pipeline.name)
            # All answer where another process of the one that hangs does.
            return [Fault(model, Symptom.SILENT) for model in found.silent or pipeline.models]
        if outcome.symptom in (Symptom.WRONG, Symptom.FAILING, Symptom.UNREACHABLE):
            symptom = Symptom.WRONG if outcome.symptom is Symptom.WRONG else Symptom.FAILING
            return [Fault(model, symptom) for model in pipeline.models]
        return []

    def _want(self, fault: Fault) -> None:
        # What a load is changing is the load's to mend.
        if self._settings.heal and not self._loads.unsettled:
            self._mender.want(fault)

    def _wish(self, why: str) -> None:
        if self._settings.heal and not self._ending.is_set():
            self._wishes.wish(why)

    def _has_helped(self, fault: Fault) -> bool:
        """Whether the model answers again; after a wrong answer, whether those are right that need it."""
        outcomes = [self._asked(pipeline) for pipeline in self._needs.needing(fault.model)]
        if outcomes and all(outcome.symptom is Symptom.WELL for outcome in outcomes):
            return True
        if fault.symptom not in RELOADING_HELPS:
            return False
        # Another of its pipeline's models may be dead as well.
        stubs = self._stubs.of([fault.model])
        return not diagnosed(self._client, [fault.model], stubs, self._settings.golden_timeout_s).faults
