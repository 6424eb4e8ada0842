"""How a pipeline is to be deployed: who asks it, where it runs, what matters most, how much is asked, and the sizes
that follow from these answers.

The sizes are written out in pipeline.toml, so that they can be read and changed; the overlay for Kubernetes takes them
from there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Application = Literal["web", "mobile", "api", "real-time", "batch"]
"""Who asks."""
Environment = Literal["cloud", "on-premise", "edge", "hybrid"]
"""Where it runs."""
Priority = Literal["latency", "throughput", "cost", "accuracy"]
"""What matters most."""
Load = Literal["low", "medium", "high"]
"""How much is asked: below 100 requests a minute, below 10,000, or more."""

Count = Annotated[int, Field(ge=1)]
Percent = Annotated[int, Field(ge=1, le=100)]


class Strict(BaseModel):
    """A table of pipeline.toml: a field that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Replicas(Strict):
    """Servers: to start with, and between which numbers the autoscaler may choose."""

    start: Count
    least: Count
    most: Count

    @model_validator(mode="after")
    def _in_order(self) -> Replicas:
        if not self.least <= self.start <= self.most:
            raise ValueError("least, start and most must be in this order")
        return self


class Share(Strict):
    """Of a machine's processors, or of its memory in GiB: what a server is promised, and what it may take."""

    request: Count
    limit: Count

    @model_validator(mode="after")
    def _in_order(self) -> Share:
        if self.request > self.limit:
            raise ValueError("request must not be above limit")
        return self


class Target(Strict):
    """What the autoscaler keeps each server at."""

    latency_ms: Count
    cpu_percent: Percent
    memory_percent: Percent
    requests_per_s: Count
    queued: Count
    """Requests that wait for a batch."""


class Deployment(Strict):
    """The answers, and the sizes that follow."""

    application: Application
    environment: Environment
    priority: Priority
    load: Load
    replicas: Replicas
    cpu: Share
    memory_gib: Share
    target: Target
    rate_limit_per_minute: Count
    """Requests of one caller."""


REPLICAS = {"low": (2, 1, 5), "medium": (3, 2, 10), "high": (5, 3, 20)}
RATE_LIMITS = {"low": 10, "medium": 100, "high": 1000}
LATENCIES_MS = {"real-time": 100, "batch": 5000}
USUAL_LATENCY_MS = 500


def sized(application: Application, environment: Environment, priority: Priority, load: Load) -> Deployment:
    """The deployment that these answers call for."""
    start, least, most = REPLICAS[load]
    processors, memory = (4, 8) if priority == "latency" else (2, 4), (4, 8)
    if environment == "edge":
        # One machine beside those who ask: nothing to scale out to.
        start, least, most = 1, 1, 1
        processors, memory = (1, 2), (2, 4)
    return Deployment(
        application=application,
        environment=environment,
        priority=priority,
        load=load,
        replicas=Replicas(start=start, least=least, most=most),
        cpu=Share(request=processors[0], limit=processors[1]),
        memory_gib=Share(request=memory[0], limit=memory[1]),
        target=Target(
            latency_ms=LATENCIES_MS.get(application, USUAL_LATENCY_MS),
            cpu_percent=70,
            memory_percent=80,
            requests_per_s=100,
            queued=30,
        ),
        rate_limit_per_minute=RATE_LIMITS[load],
    )
