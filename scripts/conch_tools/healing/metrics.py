"""What healing counts, for Prometheus: golden requests, health, repairs, restarts of the server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REPAIR_BUCKETS_S = (0.5, 1, 2, 3, 5, 8, 15, 30, 60)


class HealingMetrics:
    """One server's. Labels are bounded: names of pipelines and models of the repository, and fixed words."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.golden = Counter(
            "conch_golden_requests", "Golden requests by outcome.", ["pipeline", "outcome"], registry=self._registry
        )
        self.well = Gauge(
            "conch_pipeline_well", "1 while the pipeline answers its golden request.", ["pipeline"],
            registry=self._registry,
        )  # fmt: skip
        self.deaths = Counter(
            "conch_process_deaths", "Python processes that ended on their own.", ["model"], registry=self._registry
        )
        self.stops = Counter(
            "conch_process_stops", "Python processes that somebody stopped.", ["model"], registry=self._registry
        )
        self.repairs = Counter(
            "conch_repairs", "Models loaded anew, by symptom and outcome.", ["model", "symptom", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self.repair_seconds = Histogram(
            "conch_repair_seconds", "Time to load a model anew.", buckets=REPAIR_BUCKETS_S, registry=self._registry
        )
        self.evicted = Gauge(
            "conch_pipeline_evicted", "1 while the pipeline has left the memory, to come back on demand.", ["pipeline"],
            registry=self._registry,
        )  # fmt: skip
        self.evictions = Counter(
            "conch_evictions", "Pipelines that left the memory because of the budget.", ["pipeline"],
            registry=self._registry,
        )  # fmt: skip
        self.memory = Gauge(
            "conch_memory_bytes", "What the server and its steps take, measured when there is a budget.",
            registry=self._registry,
        )  # fmt: skip
        self.budget_passed = Counter(
            "conch_memory_budget_passed", "Times that the budget was passed because all pipelines were in use.",
            registry=self._registry,
        )  # fmt: skip
        self.load_wait = Histogram(
            "conch_load_wait_seconds", "How long somebody waited for an evicted pipeline.", buckets=REPAIR_BUCKETS_S,
            registry=self._registry,
        )  # fmt: skip
        self.restarts = Counter("conch_server_restarts", "New tritonserver processes.", registry=self._registry)

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
