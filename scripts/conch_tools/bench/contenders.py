"""What contenders have in common: a turn under load, and the answers given in it held against the reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from conch_tools.bench.errors import ContenderFailed
from conch_tools.bench.load import Answer, Load, closed_loop

Embeddings = npt.NDArray[np.float32]
LARGEST_DIFFERENCE = 1e-4
"""Contenders run the same weights: numbers further apart than this mean that one of them computes something else."""
WARM_UP_S = 1.0
"""Unmeasured beginning of each turn: connections are made, batches form, caches of the processor change hands."""


@dataclass(frozen=True)
class Turn:
    """What a contender did when it was its turn."""

    requests_per_s: float
    largest_difference: float
    """Of the answers looked at, from the reference's."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    generator_cores: float | None = None
    """Processor time of the load generator, in cores."""
    average_batch: float | None = None
    """Items an execution, from the server's own statistics."""


class Contender(Protocol):
    """Something that embeds texts."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def setup(self) -> str:
        """How it runs, in one line."""

    def turn(self, seconds: float, concurrency: int) -> Turn:
        """Embed the corpus in a circle for some seconds with `concurrency` requests in flight."""


@dataclass(frozen=True)
class HttpApi:
    """How an HTTP server is asked for one embedding."""

    path: str
    body: Callable[[str], bytes]
    read: Callable[[Answer], Embeddings]
    """The embedding, FP32 [width], in an answer."""


def wire_requests(api: HttpApi, texts: Sequence[str], host: str) -> list[bytes]:
    """The whole request of each text, as it goes over the connection."""
    bodies = [api.body(text) for text in texts]
    return [
        f"POST {api.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]


@dataclass(frozen=True)
class HttpLoad:
    """Turns of one HTTP server: the requests it gets and the embeddings it must answer with."""

    name: str
    api: HttpApi
    address: tuple[str, int]
    requests: Sequence[bytes]
    reference: Embeddings
    timeout_s: float

    def turn(self, seconds: float, concurrency: int) -> Turn:
        """One closed loop. Raises ContenderFailed when an answer is missing or differs from the reference."""
        load = closed_loop(self.address, self.requests, concurrency, WARM_UP_S, seconds, self.timeout_s)
        if not load.latencies_s:
            raise ContenderFailed(f"{self.name} answered nothing within {seconds:g} s: measure longer")
        p50, p95 = np.percentile(load.latencies_s, [50, 95]) * 1e3
        return Turn(
            requests_per_s=len(load.latencies_s) / load.seconds,
            largest_difference=self._difference(load),
            p50_ms=float(p50),
            p95_ms=float(p95),
            generator_cores=load.generator_s / load.seconds,
        )

    def _difference(self, load: Load) -> float:
        answers = np.stack([self.api.read(answer) for answer in load.kept])
        return checked_difference(self.name, answers, self.reference[[answer.item for answer in load.kept]])


def checked_difference(name: str, answers: Embeddings, expected: Embeddings) -> float:
    """The largest absolute difference. Raises ContenderFailed when it is over LARGEST_DIFFERENCE."""
    difference = float("inf")
    if answers.shape == expected.shape:
        difference = float(np.abs(answers - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise ContenderFailed(
            f"{name} gives other embeddings than the reference (difference {difference:.2g}, at most "
            f"{LARGEST_DIFFERENCE:g} is right): its throughput would mean nothing"
        )
    return difference


def text_body(text: str) -> bytes:
    """The request of the FastAPI and LitServe services."""
    return json.dumps({"text": text}).encode()


def read_embedding(answer: Answer) -> Embeddings:
    """The embedding in the JSON of the FastAPI and LitServe services."""
    content: dict[str, Any] = json.loads(answer.body)
    return np.asarray(content["embedding"], dtype=np.float32)
