"""Every pipeline's sample requests through a real Triton of its own: the first answer's time, then the median."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from conch_client import Client
from conch_tools.pipelines import Pipeline, Sample, models_of, version_numbers
from conch_tools.samples import ask
from conch_tools.serve import require_sound
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.own import own_settings
from conch_tools.settings import Settings

REPEATS = 10


@dataclass(frozen=True)
class SampleTimes:
    """One sample request of one pipeline, asked several times."""

    pipeline: str
    input: str
    answer: str
    first_ms: float
    """From the first request after the start; models that load on demand show here."""
    median_ms: float
    problem: str | None


@dataclass(frozen=True)
class ServedSamples:
    """What a server did with every sample."""

    server: str
    """Name and version as the server tells them."""
    start_s: float
    samples: tuple[SampleTimes, ...]


def unbuilt_models(pipeline: Pipeline) -> list[str]:
    """The pipeline's models that have no version folder yet."""
    repository = pipeline.folder.parent
    return [name for name in (pipeline.name, *pipeline.models) if not version_numbers(repository / name)]


def serve_samples(settings: Settings, pipelines: Sequence[Pipeline], repeats: int = REPEATS) -> ServedSamples:
    """Start the embedded server on free ports, ask every sample `repeats` times, stop it.

    Raises RepositoryError, UnsuitableMachine or ServerFailed when it cannot start.
    """
    names = models_of(pipelines)
    require_sound(settings, names)
    with contextlib.ExitStack() as running:
        own = running.enter_context(own_settings(settings, "gpu-check"))
        started = time.perf_counter()
        server = running.enter_context(EmbeddedServer(ServerOptions(own, models=names)))
        start_s = time.perf_counter() - started
        with Client(server.grpc_url, timeout_s=settings.answer_timeout_s) as client:
            times = [
                ask_repeatedly(client, pipeline, sample, repeats)
                for pipeline in pipelines
                for sample in pipeline.samples
            ]
        told = _server_name(server.http_url, settings.answer_timeout_s)
    return ServedSamples(told, start_s, tuple(times))


def _server_name(http_url: str, timeout_s: float) -> str:
    with urllib.request.urlopen(f"http://{http_url}/v2", timeout=timeout_s) as answer:
        told = json.load(answer)
    return f"{told['name']} {told['version']}"


def ask_repeatedly(client: Client, pipeline: Pipeline, sample: Sample, repeats: int) -> SampleTimes:
    """One sample, `repeats` times; the first problem met is the one reported."""
    started = time.perf_counter()
    answers = [ask(client, pipeline, sample)]
    # `ask` sends the sample twice and times the second: what is left is the very first.
    first_ms = (time.perf_counter() - started) * 1e3 - answers[0].latency_ms
    answers += [ask(client, pipeline, sample) for _ in range(repeats - 1)]
    problem = next((answer.problem for answer in answers if answer.problem), None)
    return SampleTimes(
        pipeline=pipeline.name,
        input=answers[0].input,
        answer=answers[0].answer,
        first_ms=first_ms,
        median_ms=statistics.median(answer.latency_ms for answer in answers),
        problem=problem,
    )
