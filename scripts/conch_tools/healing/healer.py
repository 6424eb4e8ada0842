"""The healer: it watches one server and brings back what dies, while everything else keeps serving.

Two threads notice. One is told by the kernel when a Python process ends, and sees processes that are stopped. The other
asks every pipeline its golden requests. What they find, a third repairs, one model at a time, again and again until it
helps, with growing pauses. What loading cannot bring back makes the healer wish for a new tritonserver; the
supervisor's main loop grants it, because a server must be started by a thread that outlives it.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from conch_client import Client
from conch_tools.healing.control import Control, ControlFailed
from conch_tools.healing.diagnosis import Fault, faults_among
from conch_tools.healing.golden import Outcome, Symptom, ask_golden
from conch_tools.healing.health import Health
from conch_tools.healing.metrics import HealingMetrics
from conch_tools.healing.repair import Repairs
from conch_tools.pipelines import Pipeline
from conch_tools.server import EmbeddedServer
from conch_tools.server.stubs import Stub, is_stopped
from conch_tools.settings import Settings

Report = Callable[[str], None]

WATCH_S = 0.5
STOPPED_FOR_S = 2.0
"""A process may be stopped for a moment; one that is for longer answers nobody."""
DOUBTED_FOR_S = 5.0
ASKED_AT_ONCE = 4
ASKED_AGAIN = 3
DRAINED_WITHIN_S = 10.0
"""After a repair some requests still go to the dead process; a golden request is sent again then, so many times."""
FRUITLESS_REPAIRS = 3
"""Of one model in a row, before a new server is wished for."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 300.0
"""Between repairs of one model that did not help; doubled each time."""
END_S = 0.5
"""For the healer's threads to end."""
AFTER_FAULT_S = 1.0
UNREACHABLE_FOR_S = 5.0
"""A server whose process lives but that nobody can reach for so long is replaced."""
RELOADING_HELPS = (Symptom.DEAD, Symptom.ABSENT, Symptom.SILENT)
"""Symptoms that a new process cures; wrong answers from sound files stay wrong."""


@dataclass(frozen=True)
class _Fruitless:
    """A fault whose repair did not help, how often, and when to try again."""

    fault: Fault
    times: int
    not_before: float


class Needs:
    """Which models a pipeline needs for an answer: its own steps, and those of the pipelines that they call."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self.pipelines = pipelines
        self._by_name = {each.name: each for each in pipelines}

    def of(self, pipeline: Pipeline) -> list[str]:
        """The models, without the ensemble itself."""
        called = [model for used in pipeline.uses for model in self.of(self._by_name[used])]
        return list(dict.fromkeys([*pipeline.models, *called]))

    def needing(self, model: str) -> list[Pipeline]:
        """The pipelines that cannot answer without a model."""
        return [each for each in self.pipelines if model == each.name or model in self.of(each)]


class Healer:
    """Heals one running server. Use it as a context manager around the time that the server is held."""

    def __init__(
        self,
        server: EmbeddedServer,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        health: Health,
        metrics: HealingMetrics,
        report: Report,
    ) -> None:
        self._settings = settings
        self._needs = Needs(pipelines)
        self._health = health
        self._metrics = metrics
        self._tell = report
        self._client = Client(server.grpc_url, timeout_s=settings.golden_timeout_s)
        self._repairs = Repairs.of(Control(server.http_url, server.admin_key), settings.start_timeout_s)
        self._server = server
        self._stubs = server.stubs
        self._stopped_since: dict[Stub, float] = {}
        self._loading: Fault | None = None
        """What is being repaired."""
        self._doubt: tuple[Fault, float] | None = None
        """What was being repaired when a process died that may have been part of it, and when."""
        self._repaired: dict[str, float] = {}
        self._replaced: set[int] = set()
        self._fruitless: dict[str, _Fruitless] = {}
        self._silences: dict[str, tuple[float, int]] = {}
        self._unreachable_since: float | None = None
        self._wanted: queue.SimpleQueue[Fault | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._wish: str | None = None
        self._threads = [
            threading.Thread(target=self._until_the_end, args=(step,), name=f"healer-{name}", daemon=True)
            for name, step in (("watch", self._watch), ("golden", self._ask), ("repair", self._mend))
        ]

    def _report(self, line: str) -> None:
        # What fails because the server ends is no news.
        if not self._ending.is_set():
            self._tell(line)

    @property
    def wish(self) -> str | None:
        """Why a new server is needed; None while it is not."""
        return self._wish

    def __enter__(self) -> Healer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._wanted.put(None)
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
                self._report(f"healing met {type(problem).__name__}: {problem}")
                self._ending.wait(AFTER_FAULT_S)

    def _watch(self) -> None:
        for stub in self._stubs.wait(WATCH_S):
            if stub.pid in self._replaced:
                continue
            self._report(f"a Python process of {self._server.named(stub)} died")
            if self._loading is not None and stub.model in ("", self._loading.model):
                self._doubt = self._doubt or (self._loading, time.monotonic())
            elif stub.model:
                self._want(Fault(stub.model, Symptom.DEAD))
        self._mind_doubt()
        for stub in self._long_stopped():
            self._report(f"a Python process of {self._server.named(stub)} is stopped and answers nobody")
            self._want(Fault(stub.model, Symptom.SILENT))

    def _mind_doubt(self) -> None:
        """Wish for a new server when a load goes on for long after a process died: Triton waits for it for ever."""
        if self._doubt is not None:
            loading, since = self._doubt
            if loading is not self._loading:
                self._doubt = None
            elif time.monotonic() - since >= DOUBTED_FOR_S:
                self._wish = f"a process died while model `{loading.model}` was loaded"

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
        outcome = self._asked(pipeline)
        if outcome.symptom is not Symptom.WELL and not self._ending.is_set():
            self._look_into(pipeline, outcome)

    def _asked(self, pipeline: Pipeline) -> Outcome:
        """Ask a pipeline and take down what came of it."""
        outcome = ask_golden(self._client, pipeline, self._settings.golden_timeout_s)
        for _ in range(ASKED_AGAIN):
            if outcome.symptom is not Symptom.DEAD or not self._was_repaired_just_now(pipeline):
                break
            # It met what is no longer there: what waits at a dead process is told of its death only after seconds.
            outcome = ask_golden(self._client, pipeline, self._settings.golden_timeout_s)
        if self._ending.is_set():
            return outcome
        well = outcome.symptom is Symptom.WELL
        self._metrics.golden.labels(pipeline.name, outcome.symptom.value).inc()
        self._metrics.well.labels(pipeline.name).set(well)
        if self._health.note(pipeline.name, outcome):
            self._report(f"pipeline `{pipeline.name}` {'is well' if well else f'is not well: {outcome.problem}'}")
        return outcome

    def _was_repaired_just_now(self, pipeline: Pipeline) -> bool:
        since = time.monotonic() - DRAINED_WITHIN_S
        return any(self._repaired.get(model, 0.0) > since for model in (pipeline.name, *self._needs.of(pipeline)))

    def _look_into(self, pipeline: Pipeline, outcome: Outcome) -> None:
        """Find what is to blame for a golden request that is not well, and repair it."""
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
            self._wanted.put(fault)

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
            self._wish = f"it answers nobody since {UNREACHABLE_FOR_S:g} s"

    def _mend(self) -> None:
        """Repair what is wanted next, or what an earlier repair did not help once its pause is over."""
        next_try = min((each.not_before for each in self._fruitless.values()), default=math.inf)
        fault = self._next_wanted(next_try - time.monotonic())
        if fault is None:
            now = time.monotonic()
            due = [each.fault for each in self._fruitless.values() if each.not_before <= now]
        elif fault.model in self._fruitless or fault.noticed <= self._repaired.get(fault.model, 0.0):
            # Two who notice the same fault need one repair.
            due = []
        else:
            due = [fault]
        for each in due:
            if self._repair(each):
                self._fruitless.pop(each.model, None)
            else:
                self._fruitless[each.model] = self._fruitless_once_more(each, self._fruitless.get(each.model))

    def _next_wanted(self, patience_s: float) -> Fault | None:
        """None when there is none in that time."""
        try:
            return self._wanted.get(timeout=min(max(patience_s, 0.0), threading.TIMEOUT_MAX))
        except queue.Empty:
            return None

    def _repair(self, fault: Fault) -> bool:
        """Load one model anew and ask the pipelines that need it; whether that helped."""
        began = time.monotonic()
        stubs = self._stubs.of([fault.model])
        self._replaced.update(stub.pid for stub in stubs)
        try:
            self._loading = fault
            self._repairs.repair(fault.model, stubs if fault.symptom is Symptom.SILENT else ())
            self._loading = None
            self._repaired[fault.model] = time.monotonic()
            self._metrics.repair_seconds.observe(time.monotonic() - began)
            said = f"loaded anew in {time.monotonic() - began:.1f} s"
            helped = self._has_helped(fault)
        except ControlFailed as failure:
            self._loading = None
            said, helped = f"not loaded anew: {failure}", False
        self._report(f"model `{fault.model}` ({fault.symptom.value}): {said}")
        self._metrics.repairs.labels(fault.model, fault.symptom.value, "healed" if helped else "failed").inc()
        return helped

    def _has_helped(self, fault: Fault) -> bool:
        """Whether the model answers again; after a wrong answer, whether those are right that need it."""
        outcomes = [self._asked(pipeline) for pipeline in self._needs.needing(fault.model)]
        if all(outcome.symptom is Symptom.WELL for outcome in outcomes):
            return True
        # Another of its pipeline's models may be dead as well.
        return fault.symptom in RELOADING_HELPS and not faults_among(
            self._client, [fault.model], self._stubs.of([fault.model]), self._settings.golden_timeout_s
        )

    def _fruitless_once_more(self, fault: Fault, before: _Fruitless | None) -> _Fruitless:
        times = before.times + 1 if before else 1
        if times >= FRUITLESS_REPAIRS and fault.symptom in RELOADING_HELPS:
            self._wish = f"loading model `{fault.model}` anew did not help {times} times"
        pause_s = min(FIRST_PAUSE_S * 2 ** (times - 1), LONGEST_PAUSE_S)
        return _Fruitless(fault, times, time.monotonic() + pause_s)
