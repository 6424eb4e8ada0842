"""Ask a running server a pipeline's sample requests and compare the answers with its pipeline.toml.

A server that is ready has loaded its models; only an answer proves that a pipeline works. `conch up` shows these
answers to a newcomer, `conch gpu-check` times them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from conch_client import Client, InferResult
from conch_client import ConchError as ClientError
from conch_tools.pipelines import Pipeline, Sample
from conch_tools.printable import shortened

SHOWN_CHARACTERS = 60
SHOWN_NUMBERS = 4
NAMING_FIELDS = ("text", "id")
"""What a thing found in an answer is called by, the first of these that it has."""


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
    shown = shortened(", ".join(_in_short(value) for value in sample.input.values()), SHOWN_CHARACTERS)
    try:
        inputs = pipeline.sample_inputs(sample)
        client.infer(pipeline.name, inputs=inputs)
        started = time.perf_counter()
        result = client.infer(pipeline.name, inputs=inputs)
        latency_ms = (time.perf_counter() - started) * 1e3
    except ClientError as problem:
        return SampleAnswer(pipeline.name, shown, "-", 0.0, str(problem))
    return SampleAnswer(pipeline.name, shown, _in_words(result, sample), latency_ms, wrong_in_answer(result, sample))


def wrong_in_answer(result: InferResult, sample: Sample) -> str | None:
    """What of an answer is not as the sample expects it; None when all is."""
    for name, expected in sample.expect.items():
        answer = np.ravel(result[name]) if name in result else np.empty(0)
        if not answer.size:
            return f"there is no `{name}` in the answer, pipeline.toml expects {expected}"
        if answer.dtype == np.object_ and not isinstance(expected, str):
            try:
                found = json.loads(answer[0])
            except ValueError:
                return f"`{name}` is no JSON: {shortened(str(answer[0]), SHOWN_CHARACTERS)}"
        else:
            found = answer.tolist() if isinstance(expected, list) else answer[0]
        problem = _difference(name, found, expected, sample.tolerance)
        if problem:
            return problem
    return None


def _difference(where: str, found: Any, wanted: Any, tolerance: float) -> str | None:
    """What of `wanted` is not in `found`: of a list its first elements count, of an object the fields named."""
    if isinstance(wanted, list) and isinstance(found, list) and len(found) >= len(wanted):
        parts = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(found, wanted, strict=False))]
    elif isinstance(wanted, dict) and isinstance(found, dict):
        parts = [(f"{where}.{key}", found.get(key), value) for key, value in wanted.items()]
    elif isinstance(wanted, float) and isinstance(found, float | int | np.floating):
        difference = abs(float(found) - wanted)
        off = f"`{where}` differs from pipeline.toml by {difference:.2g}, the tolerance is {tolerance:g}"
        return off if not difference <= tolerance else None
    else:
        return None if found == wanted else f"`{where}` is {found}, pipeline.toml expects {wanted}"
    problems = (_difference(*part, tolerance) for part in parts)
    return next((problem for problem in problems if problem), None)


def _in_words(result: InferResult, sample: Sample) -> str:
    """The output that the sample expects first, because that is what the pipeline is for."""
    if "label" in result:
        return f"{np.ravel(result['label'])[0]} ({float(np.ravel(result['score'])[0]):.3f})"
    name = next(name for name in (*sample.expect, *result) if name in result)
    return f"{name} {_value_in_words(result[name])}"


def _value_in_words(value: Any) -> str:
    flat = np.ravel(value)
    if flat.dtype == np.object_:
        return shortened(", ".join(_json_in_words(str(text)) for text in flat), SHOWN_CHARACTERS)
    first = ", ".join(f"{float(number):.3f}" for number in flat[:SHOWN_NUMBERS])
    return f"[{first}{', …' if len(flat) > SHOWN_NUMBERS else ''}] ({len(flat)} numbers)"


def _json_in_words(text: str) -> str:
    """A list of found things, each by its name and what is said of it; any other text as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        return text
    return ", ".join(_thing_in_words(each) for each in found) or "none"


def _thing_in_words(thing: Mapping[str, Any]) -> str:
    name = next((thing[key] for key in NAMING_FIELDS if key in thing), None)
    if name is None:
        return json.dumps(thing, ensure_ascii=False)
    said = [str(thing["type"])] if "type" in thing else []
    said += [f"{thing['score']:.3f}"] if "score" in thing else []
    return f"{name or 'nothing'} ({' '.join(said)})" if said else str(name)


def _in_short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
