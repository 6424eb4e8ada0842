"""What is known of the pipelines' health: one record each, written by the healer, read by probes and people."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from conch_tools.healing.golden import Outcome, Symptom


@dataclass(frozen=True)
class PipelineHealth:
    """One pipeline."""

    well: bool | None = None
    """Whether its last golden request was; None before the first."""
    problem: str = ""
    """What its last golden request met, empty when it is well."""
    since: float = 0.0
    """When it became so, seconds since the epoch."""
    asked: float = 0.0
    """When the last golden request came back."""
    evicted: bool = False
    """Whether it has left the memory, to come back on demand: it is not ill, and nobody asks it."""


class Health:
    """Of all pipelines of one server. Safe to use from several threads."""

    def __init__(self, pipelines: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._pipelines = {name: PipelineHealth() for name in pipelines}
        self._has_server = True

    def serves(self, pipelines: Sequence[str]) -> None:
        """These are served from now on, and no others."""
        with self._lock:
            self._pipelines = {name: self._pipelines.get(name, PipelineHealth()) for name in pipelines}

    def note(self, pipeline: str, outcome: Outcome) -> bool:
        """Take down how a golden request came out; whether that is another state than before."""
        well, now = outcome.symptom is Symptom.WELL, time.time()
        with self._lock:
            before = self._pipelines.get(pipeline)
            if before is None or before.evicted:
                # It was asked before it was unloaded.
                return False
            changed = before.well is not well
            self._pipelines[pipeline] = replace(
                before, well=well, problem=outcome.problem, asked=now, since=now if changed else before.since
            )
        return changed

    def evicted(self, pipeline: str) -> None:
        """It leaves the memory."""
        with self._lock:
            self._pipelines[pipeline] = PipelineHealth(since=time.time(), evicted=True)

    def back(self, pipeline: str) -> None:
        """It is in memory again; it is well when it has answered."""
        with self._lock:
            self._pipelines[pipeline] = PipelineHealth()

    def in_memory(self) -> list[str]:
        """The names of those that are not evicted."""
        return [name for name, each in self.all().items() if not each.evicted]

    def lost(self, problem: str) -> None:
        """The server is gone: no pipeline is well."""
        self._has_server = False
        for name in self.all():
            self.note(name, Outcome(Symptom.UNREACHABLE, problem))

    def replaced(self) -> None:
        """There is a new server; its pipelines are well when they have answered."""
        self._has_server = True

    def of(self, pipeline: str) -> PipelineHealth | None:
        """Of one pipeline; None when it is not served."""
        with self._lock:
            return self._pipelines.get(pipeline)

    def all(self) -> Mapping[str, PipelineHealth]:
        """Of every pipeline, by name."""
        with self._lock:
            return dict(self._pipelines)

    @property
    def ready(self) -> bool:
        """Whether there is a server whose every pipeline is well, or comes back on demand."""
        return self._has_server and all(each.well or each.evicted for each in self.all().values())

    def as_json(self) -> dict[str, Any]:
        """For the health endpoint."""
        return {"ready": self.ready, "pipelines": {name: asdict(each) for name, each in self.all().items()}}
