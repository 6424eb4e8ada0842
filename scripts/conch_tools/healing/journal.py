"""What is told of a server that heals itself: health to probes, figures to Prometheus, lines to people. One value."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from conch_tools.budget.uses import Uses
from conch_tools.healing.diagnosis import Fault
from conch_tools.healing.golden import Outcome, Symptom
from conch_tools.healing.health import Health
from conch_tools.healing.metrics import HealingMetrics
from conch_tools.pipelines import Pipeline
from conch_tools.serve import Report


@dataclass(frozen=True)
class Journal:
    """Of one supervisor, for all servers that it holds one after the other. Safe to use from several threads."""

    health: Health
    metrics: HealingMetrics
    report: Report
    uses: Uses = field(default_factory=Uses)
    """When each pipeline was last used by somebody else than healing."""

    @classmethod
    def of(cls, pipelines: Sequence[Pipeline], report: Report) -> Journal:
        """An empty one."""
        return cls(Health([pipeline.name for pipeline in pipelines]), HealingMetrics(), report)

    def serves(self, pipelines: Sequence[Pipeline]) -> None:
        """These are served from now on, and no others."""
        before = self.health.all()
        self.health.serves([each.name for each in pipelines])
        for name in before.keys() - self.health.all().keys():
            self._forget(name)

    def _forget(self, pipeline: str) -> None:
        for gauge in (self.metrics.well, self.metrics.evicted):
            with contextlib.suppress(KeyError):
                gauge.remove(pipeline)

    def evicted(self, pipeline: str) -> None:
        """The pipeline leaves the memory."""
        self.health.evicted(pipeline)
        self._forget(pipeline)
        self.metrics.evicted.labels(pipeline).set(1)
        self.metrics.evictions.labels(pipeline).inc()

    def back(self, pipeline: str) -> None:
        """The pipeline is in memory again."""
        self.health.back(pipeline)
        self.uses.begin(pipeline)
        self.metrics.evicted.labels(pipeline).set(0)

    def asked(self, pipeline: str, outcome: Outcome) -> None:
        """How a golden request came out; people are told when that is another state than before."""
        before = self.health.of(pipeline)
        if before is None or before.evicted:
            return
        well = outcome.symptom is Symptom.WELL
        self.metrics.golden.labels(pipeline, outcome.symptom.value).inc()
        self.metrics.well.labels(pipeline).set(well)
        if self.health.note(pipeline, outcome):
            self.report(f"pipeline `{pipeline}` {'is well' if well else f'is not well: {outcome.problem}'}")

    def died(self, model: str, named: str) -> None:
        """A Python process ended on its own; of no known model when it ended too early."""
        self.metrics.deaths.labels(model).inc()
        self.report(f"a Python process of {named} died")

    def stopped(self, model: str, named: str) -> None:
        """Somebody stopped a Python process."""
        self.metrics.stops.labels(model).inc()
        self.report(f"a Python process of {named} is stopped and answers nobody")

    def loaded(self, fault: Fault, seconds: float) -> None:
        """A model was loaded anew."""
        self.metrics.repair_seconds.observe(seconds)
        self.report(f"model `{fault.model}` ({fault.symptom.value}): loaded anew in {seconds:.1f} s")

    def not_loaded(self, fault: Fault, why: str) -> None:
        """A model could not be loaded anew."""
        self.report(f"model `{fault.model}` ({fault.symptom.value}): not loaded anew: {why}")

    def repaired(self, fault: Fault, helped: bool) -> None:
        """What came of a repair."""
        self.metrics.repairs.labels(fault.model, fault.symptom.value, "healed" if helped else "failed").inc()

    def lost(self, why: str) -> None:
        """The server is gone: no pipeline is well."""
        self.health.lost(why)
        for pipeline in self.health.in_memory():
            self.metrics.well.labels(pipeline).set(0)

    def restarted(self, seconds: float) -> None:
        """There is a new server."""
        self.metrics.restarts.inc()
        self.health.replaced()
        self.report(f"tritonserver is ready again after {seconds:.1f} s")
