"""The mender: repairs what it is told of, one model at a time, again and again until it helps, with growing pauses.

What loading does not cure costs a new tritonserver (`wishes`). What Triton refuses to load does not: a new one would
refuse it as well, and everything else with it. Such a pipeline stays ill while the others serve.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from conch_tools.healing.control import ControlFailed, Unanswered
from conch_tools.healing.diagnosis import Fault
from conch_tools.healing.golden import Symptom
from conch_tools.healing.journal import Journal
from conch_tools.healing.repair import Repairs
from conch_tools.healing.wishes import Wishes
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

    def __init__(
        self, repairs: Repairs, stubs: Stubs, has_helped: Callable[[Fault], bool], journal: Journal, wishes: Wishes
    ) -> None:
        """`has_helped` tells, once a model was loaded anew, whether it and what needs it is well."""
        self._repairs = repairs
        self._stubs = stubs
        self._has_helped = has_helped
        self._journal = journal
        self._wishes = wishes
        self._wanted: queue.SimpleQueue[Fault | None] = queue.SimpleQueue()
        self._repaired: dict[str, float] = {}
        self._replaced: set[Stub] = set()
        self._fruitless: dict[str, _Fruitless] = {}
        self._loading: Fault | None = None
        self._doubt: tuple[Fault, float] | None = None
        """What was being loaded when a process died that may have been part of it, and when."""

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
        return stub in self._replaced

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
                # Not for the model's sake alone: nothing can be loaded while Triton waits for ever.
                self._wishes.wish(f"a process died while model `{loading.model}` was loaded")

    def mend(self) -> None:
        """Repair all that is wanted by now, or, once its pause is over, what an earlier repair did not help.

        First everything is loaded, then looked at: who died together is back together, and no pipeline is asked while
        another of its models is known to be dead.
        """
        next_try = min((each.not_before for each in self._fruitless.values()), default=math.inf)
        wanted = self._all_wanted(next_try - time.monotonic())
        due = list({fault.model: fault for fault in wanted if self._is_news(fault)}.values()) or self._still_due()
        for fault in [fault for fault in due if self._load(fault)]:
            self._judge(fault, self._has_helped(fault))

    def _all_wanted(self, patience_s: float) -> list[Fault]:
        """None when none is wanted in that time."""
        wanted: list[Fault | None] = []
        with contextlib.suppress(queue.Empty):
            wanted.append(self._wanted.get(timeout=min(max(patience_s, 0.0), threading.TIMEOUT_MAX)))
            while True:
                wanted.append(self._wanted.get_nowait())
        return [fault for fault in wanted if fault is not None]

    def _is_news(self, fault: Fault) -> bool:
        """Two who notice the same fault need one repair, and one that did not help waits for its time."""
        known = self._fruitless.get(fault.model)
        if known is not None and known.fault.symptom is fault.symptom:
            return False
        return fault.noticed > self._repaired.get(fault.model, 0.0)

    def _still_due(self) -> list[Fault]:
        """The faults whose pause is over, without those that somebody else has mended meanwhile."""
        now = time.monotonic()
        due = [each.fault for each in self._fruitless.values() if each.not_before <= now]
        mended = [fault for fault in due if self._has_helped(fault)]
        for fault in mended:
            del self._fruitless[fault.model]
        return [fault for fault in due if fault not in mended]

    def _load(self, fault: Fault) -> bool:
        """Load one model anew; whether Triton did so."""
        began = time.monotonic()
        stubs = self._stubs.of([fault.model])
        # Said before, because their ends come before the load's.
        self._replaced.update(stubs)
        self._loading = fault
        try:
            self._repairs.repair(fault.model, stubs if fault.symptom is Symptom.SILENT else ())
        except ControlFailed as failure:
            self._journal.not_loaded(fault, str(failure))
            if isinstance(failure, Unanswered):
                self._wishes.wish(f"model `{fault.model}` cannot be loaded anew: {failure}", fault.model)
            else:
                self._replaced.difference_update(stubs)
            self._journal.repaired(fault, False)
            self._put_off(fault)
            return False
        finally:
            self._loading = None
        self._repaired[fault.model] = time.monotonic()
        self._journal.loaded(fault, time.monotonic() - began)
        return True

    def _judge(self, fault: Fault, helped: bool) -> None:
        """What came of a load."""
        self._journal.repaired(fault, helped)
        if helped:
            self._fruitless.pop(fault.model, None)
            return
        times = self._put_off(fault)
        if times >= FRUITLESS_REPAIRS and fault.symptom in RELOADING_HELPS:
            self._wishes.wish(f"loading model `{fault.model}` anew did not help {times} times", fault.model)

    def _put_off(self, fault: Fault) -> int:
        """Try again later; how often that was in vain so far."""
        before = self._fruitless.get(fault.model)
        times = before.times + 1 if before else 1
        pause_s = min(FIRST_PAUSE_S * 2 ** (times - 1), LONGEST_PAUSE_S)
        self._fruitless[fault.model] = _Fruitless(fault, times, time.monotonic() + pause_s)
        return times
