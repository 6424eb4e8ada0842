"""The mender: repairs what it is told of, one model at a time, again and again until it helps, with growing pauses.

What loading does not cure costs a new tritonserver. The mender only wishes for one; the supervisor's main loop grants
it, because a server must be started by a thread that outlives it.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from conch_tools.healing.control import ControlFailed
from conch_tools.healing.diagnosis import Fault
from conch_tools.healing.golden import Symptom
from conch_tools.healing.journal import Journal
from conch_tools.healing.repair import Repairs
from conch_tools.server.stubs import Stub, Stubs

FRUITLESS_REPAIRS = 3
"""Of one model in a row, before a new server is wished for."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 300.0
"""Between repairs of one model that did not help; doubled each time."""
DOUBTED_FOR_S = 5.0
"""A load that goes on for so long after a process died never ends: Triton waits for it for ever."""
RELOADING_HELPS = (Symptom.DEAD, Symptom.ABSENT, Symptom.SILENT)
"""Symptoms that a new process cures; wrong answers from sound files stay wrong."""


@dataclass(frozen=True)
class _Fruitless:
    """A fault whose repair did not help, how often, and when to try again."""

    fault: Fault
    times: int
    not_before: float


class Mender:
    """Of one running server. One thread calls `mend`, any may call the rest."""

    def __init__(self, repairs: Repairs, stubs: Stubs, has_helped: Callable[[Fault], bool], journal: Journal) -> None:
        """`has_helped` tells, once a model was loaded anew, whether it and what needs it is well."""
        self._repairs = repairs
        self._stubs = stubs
        self._has_helped = has_helped
        self._journal = journal
        self._wanted: queue.SimpleQueue[Fault | None] = queue.SimpleQueue()
        self._repaired: dict[str, float] = {}
        self._replaced: set[int] = set()
        self._fruitless: dict[str, _Fruitless] = {}
        self._loading: Fault | None = None
        self._doubt: tuple[Fault, float] | None = None
        """What was being loaded when a process died that may have been part of it, and when."""
        self.wish: str | None = None
        """Why a new server is needed; None while it is not."""

    def want(self, fault: Fault) -> None:
        """Repair this, soon."""
        self._wanted.put(fault)

    def wake(self) -> None:
        """Let `mend` return."""
        self._wanted.put(None)

    def repaired_since(self, models: Collection[str], moment: float) -> bool:
        """Whether any of these models was loaded anew after a moment of the monotonic clock."""
        return any(self._repaired.get(model, 0.0) > moment for model in models)

    def has_replaced(self, stub: Stub) -> bool:
        """Whether the process was one of a model that was loaded anew, so that its end is expected."""
        return stub.pid in self._replaced

    def doubts(self, stub: Stub) -> bool:
        """Whether a process that died may be part of the load under way; if so, the load is watched from now on."""
        loading = self._loading
        if loading is None or stub.model not in ("", loading.model):
            return False
        self._doubt = self._doubt or (loading, time.monotonic())
        return True

    def mind_doubt(self) -> None:
        """Wish for a new server when a doubted load has gone on for too long."""
        if self._doubt is not None:
            loading, since = self._doubt
            if loading is not self._loading:
                self._doubt = None
            elif time.monotonic() - since >= DOUBTED_FOR_S:
                self.wish = f"a process died while model `{loading.model}` was loaded"

    def mend(self) -> None:
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
                self._fruitless[each.model] = self._once_more(each, self._fruitless.get(each.model))

    def _next_wanted(self, patience_s: float) -> Fault | None:
        """None when there is none in that time."""
        try:
            return self._wanted.get(timeout=min(max(patience_s, 0.0), threading.TIMEOUT_MAX))
        except queue.Empty:
            return None

    def _repair(self, fault: Fault) -> bool:
        """Load one model anew; whether that helped."""
        helped = False
        try:
            self._load(fault)
            helped = self._has_helped(fault)
        except ControlFailed as failure:
            self._journal.not_loaded(fault, str(failure))
        self._journal.repaired(fault, helped)
        return helped

    def _load(self, fault: Fault) -> None:
        began = time.monotonic()
        stubs = self._stubs.of([fault.model])
        self._replaced.update(stub.pid for stub in stubs)
        self._loading = fault
        try:
            self._repairs.repair(fault.model, stubs if fault.symptom is Symptom.SILENT else ())
        finally:
            self._loading = None
        self._repaired[fault.model] = time.monotonic()
        self._journal.loaded(fault, time.monotonic() - began)

    def _once_more(self, fault: Fault, before: _Fruitless | None) -> _Fruitless:
        times = before.times + 1 if before else 1
        if times >= FRUITLESS_REPAIRS and fault.symptom in RELOADING_HELPS:
            self.wish = f"loading model `{fault.model}` anew did not help {times} times"
        pause_s = min(FIRST_PAUSE_S * 2 ** (times - 1), LONGEST_PAUSE_S)
        return _Fruitless(fault, times, time.monotonic() + pause_s)
