"""`pb_utils.MetricFamily` and its metrics, kept where a test can read them.

After python_backend's metric.cc and metric_family.cc. Families belong to the whole server there, here each step has
its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from conch_tools.errors import ContractBroken
from conch_tools.step_kit.tensors import TritonModelException

COUNTER, GAUGE, HISTOGRAM = "COUNTER", "GAUGE", "HISTOGRAM"
Labels = frozenset[tuple[str, str]]


class Metrics:
    """A step's metrics by family and labels."""

    def __init__(self) -> None:
        self.families: dict[str, dict[Labels, Metric]] = {}

    def value(self, family: str, **labels: str) -> float:
        """Of a counter or a gauge. Raises KeyError for one that the step has not made."""
        return self.families[family][frozenset(labels.items())].value()

    def observed(self, family: str, **labels: str) -> list[float]:
        """Of a histogram, in order. Raises KeyError for one that the step has not made."""
        return list(self.families[family][frozenset(labels.items())].observations)


class MetricFamily:
    """`pb_utils.MetricFamily`."""

    COUNTER, GAUGE, HISTOGRAM = COUNTER, GAUGE, HISTOGRAM
    registry: ClassVar[Callable[[], Metrics]]
    """Set in each step's own class."""

    def __init__(self, name: str, description: str, kind: str) -> None:
        self._kind = kind
        self._metrics = type(self).registry().families.setdefault(name, {})

    def Metric(self, labels: dict[str, str] | None = None, buckets: list[float] | None = None) -> Metric:
        """The metric of these labels: the same one for the same labels."""
        why = None
        if labels is not None and not isinstance(labels, dict):
            why = "Labels must be a dictionary."
        elif buckets is not None and not isinstance(buckets, list):
            why = "Buckets must be a list."
        elif buckets is not None and self._kind != HISTOGRAM:
            why = "Unexpected buckets found."
        elif buckets is None and self._kind == HISTOGRAM:
            why = "Missing required buckets."
        if why:
            raise TritonModelException(f"Failed to create metric. {why}")
        metric = Metric(self._kind, buckets or [])
        return self._metrics.setdefault(frozenset((labels or {}).items()), metric)


class Metric:
    """One time series.

    What its kind does not do raises ContractBroken: tritonserver 2.51 refuses it, and in some tries ended while it
    did so, the whole server (2026-11-27).
    """

    def __init__(self, kind: str, buckets: list[float]) -> None:
        self._kind, self.buckets = kind, buckets
        self._value = 0.0
        self.observations: list[float] = []
        self._lock = threading.Lock()

    def increment(self, value: float) -> None:
        self._require(self._kind != HISTOGRAM, "does not support Increment:")
        self._require(
            self._kind != COUNTER or value >= 0, "can only be incremented monotonically by non-negative values:"
        )
        with self._lock:
            self._value += value

    def set(self, value: float) -> None:
        self._require(self._kind == GAUGE, "does not support Set:")
        self._value = value

    def observe(self, value: float) -> None:
        self._require(self._kind == HISTOGRAM, "does not support Observe:")
        with self._lock:
            self.observations.append(value)

    def value(self) -> float:
        self._require(self._kind != HISTOGRAM, "does not support Value:")
        return self._value

    def _require(self, met: bool, otherwise: str) -> None:
        if not met:
            raise ContractBroken(
                f"TRITONSERVER_METRIC_KIND_{self._kind} {otherwise} tritonserver 2.51 may end altogether when it "
                "refuses this: change the kind of the metric, or the call"
            )
