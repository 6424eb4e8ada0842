"""A pipeline of two steps, and turns whose figures a test decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conch_tools.tune.figures import Measurement, StepFigures, Traffic
from conch_tools.tune.space import Candidate, StepSettings

MODEL, TOKENIZE = "pipe_model", "pipe_tokenize"
MakeTurn = Callable[..., Measurement]


@pytest.fixture
def start() -> Candidate:
    """A runtime step and a Python step, one process each."""
    steps = (StepSettings(MODEL, 1, 1, False, 0), StepSettings(TOKENIZE, 1, None, False, 0))
    return Candidate(steps, 64)


@pytest.fixture
def turn() -> MakeTurn:
    """A turn with these requests a second; the runtime step does as told, the Python step is idle."""

    def make(rate: float, p99_ms: float = 90.0, **figures: float) -> Measurement:
        model = {"average_batch": 4.0, "queue_ms": 20.0, "compute_ms": 12.0, "busy": 0.97, **figures}
        steps = (StepFigures(MODEL, **model), StepFigures(TOKENIZE, 1.2, 0.1, 0.4, 0.05))
        return Measurement(Traffic(16, rate, p99_ms / 2, p99_ms), steps)

    return make
