"""Golden requests: what a pipeline must answer as long as it is well.

They are the samples of pipeline.toml that are called golden, which is all of them unless it says otherwise. A server
that is overloaded answers late and is not ill: see `diagnosis` for how the two are told apart.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from conch_client import (
    Client,
    ConchError,
    DeadlineExceeded,
    ModelNotFound,
    ModelNotReady,
    ServerUnavailable,
)
from conch_tools.pipelines import Pipeline, Sample
from conch_tools.samples import wrong_in_answer

FULL_QUEUE = "the model's queue is full"
"""conch_client's words for it."""
CALLED_MODEL_ABSENT = "is not ready."
"""Triton's words to a step that calls a model (BLS) which is not loaded."""


class Symptom(enum.Enum):
    """How a golden request, or one to a single model, came out."""

    WELL = "well"
    WRONG = "wrong answer"
    FAILING = "failing"
    DEAD = "dead process"
    SILENT = "no answer in time"
    ABSENT = "not loaded"
    UNREACHABLE = "server unreachable"
    UNASKED = "request cannot be made"


@dataclass(frozen=True)
class Outcome:
    """Of the golden requests of a pipeline: the first that is not well."""

    symptom: Symptom
    problem: str = ""
    """A sentence, empty when all is well."""
    answered: int = field(default=0, compare=False)
    """How many requests the pipeline answered."""


def golden_samples(pipeline: Pipeline) -> list[Sample]:
    """What the golden requests are made of."""
    return [each for each in pipeline.samples if each.golden]


def ask_golden(client: Client, pipeline: Pipeline, timeout_s: float) -> Outcome:
    """Send the golden requests; never raises for what the server answers, nor for a sample's file that is not there."""
    answered = 0
    for sample in golden_samples(pipeline):
        try:
            answer = client.infer(pipeline.name, inputs=pipeline.sample_inputs(sample), timeout_s=timeout_s)
        except OSError as problem:
            return Outcome(Symptom.UNASKED, f"its sample cannot be read: {problem}", answered)
        except ConchError as problem:
            return Outcome(symptom_of(problem), str(problem), answered)
        answered += 1
        wrong = wrong_in_answer(answer, sample)
        if wrong:
            return Outcome(Symptom.WRONG, wrong, answered)
    return Outcome(Symptom.WELL, answered=answered)


def symptom_of(problem: ConchError) -> Symptom:
    """What an error of the client says of the one that was asked.

    A full queue is as ambiguous as silence. UNREACHABLE is only what it looks like: a server whose answer to one
    request broke off may live.
    """
    if isinstance(problem, DeadlineExceeded) or FULL_QUEUE in problem.problem:
        return Symptom.SILENT
    if isinstance(problem, ModelNotReady):
        return Symptom.DEAD if "is not healthy" in problem.problem else Symptom.ABSENT
    if isinstance(problem, ServerUnavailable):
        return Symptom.ABSENT if CALLED_MODEL_ABSENT in problem.problem else Symptom.UNREACHABLE
    if isinstance(problem, ModelNotFound):
        return Symptom.ABSENT
    return Symptom.FAILING
