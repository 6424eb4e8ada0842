"""Ask a running server a pipeline's sample requests and compare the answers with its pipeline.toml.

A server that is ready has loaded its models; only an answer proves that a pipeline works. `conch up` shows these
answers to a newcomer, `conch gpu-check` times them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from conch_client import Client, InferResult
from conch_client import ConchError as ClientError
from conch_tools.pipelines import Pipeline, Sample

SHOWN_CHARACTERS = 60
SHOWN_NUMBERS = 4


@dataclass(frozen=True)
class SampleAnswer:
    """What came of one sample request."""

    pipeline: str
    input: str
    answer: str
    latency_ms: float
    problem: str | None
    """What is wrong with the answer, or None."""


def ask(client: Client, pipeline: Pipeline, sample: Sample) -> SampleAnswer:
    """Send the sample once to warm up and once for time; never raises for what the server answers."""
    value = np.array([pipeline.sample_value(sample)], dtype=np.object_)
    shown = _shortened(sample.input[pipeline.input_tensor])
    try:
        client.infer(pipeline.name, inputs={pipeline.input_tensor: value})
        started = time.perf_counter()
        result = client.infer(pipeline.name, inputs={pipeline.input_tensor: value})
        latency_ms = (time.perf_counter() - started) * 1e3
    except ClientError as problem:
        return SampleAnswer(pipeline.name, shown, "-", 0.0, str(problem))
    return SampleAnswer(pipeline.name, shown, _in_words(result), latency_ms, _problem(result, sample))


def _problem(result: InferResult, sample: Sample) -> str | None:
    for name, expected in sample.expect.items():
        answer = np.asarray(result[name]).reshape(-1)
        if isinstance(expected, str):
            if str(answer[0]) != expected:
                return f"`{name}` is {answer[0]}, pipeline.toml expects {expected}"
            continue
        wanted = np.atleast_1d(np.asarray(expected, dtype=np.float64))
        difference = float(np.abs(answer[: len(wanted)].astype(np.float64) - wanted).max(initial=0.0))
        if not difference <= sample.tolerance:
            return f"`{name}` differs from pipeline.toml by {difference:.2g}, the tolerance is {sample.tolerance:g}"
    return None


def _in_words(result: InferResult) -> str:
    if "label" in result:
        return f"{np.ravel(result['label'])[0]} ({float(np.ravel(result['score'])[0]):.3f})"
    return "; ".join(f"{name} {_numbers(result[name])}" for name in result)


def _numbers(values: Any) -> str:
    flat = np.ravel(values)
    first = ", ".join(f"{float(value):.3f}" for value in flat[:SHOWN_NUMBERS])
    return f"[{first}{', …' if len(flat) > SHOWN_NUMBERS else ''}] ({len(flat)} numbers)"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
