"""What the folders of a pipeline hold, by task: which template is which step's configuration, and what is filled in.

A template is a config.pbtxt with `$names` in it. What its dims are the source tells: facts.py reads them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch_tools.deployment import Priority
from conch_tools.new.facts import Facts, text_classification
from conch_tools.pipelines import Pipeline, Task

TEMPLATES = Path(__file__).with_name("templates")
MAX_BATCH_SIZE = 64
DYNAMIC_BATCHING: Mapping[Priority, str] = {
    "throughput": "# Throughput comes first: a batch waits a moment for more requests to join it.\n"
    "dynamic_batching { max_queue_delay_microseconds: 2000 }"
}
"""Of the model step. Without a delay, a request waits for nobody."""
NO_DELAY = "dynamic_batching {}"


@dataclass(frozen=True)
class Layout:
    """The files of one task's pipelines."""

    ensemble: str
    """Template of the ensemble's config.pbtxt."""
    steps: Mapping[str, str]
    """Template of each step's, by role."""
    facts: Callable[[Pipeline], Facts]
    """Reads what is filled in. Raises BuildError when the source does not tell."""
    samples: tuple[Mapping[str, Any], ...]
    """What the samples send; the answers they expect are the reference library's."""
    description: str


LAYOUTS: Mapping[Task, Layout] = {
    "text-classification": Layout(
        ensemble="text_classification/ensemble.pbtxt",
        steps={
            "tokenize": "steps/text_tokenize.pbtxt",
            "model": "steps/ragged_text_model.pbtxt",
            "labels": "steps/class_labels.pbtxt",
        },
        facts=text_classification,
        samples=(
            {"text": "The room was spotless and the staff could not have been kinder."},
            {"text": "Broke on the second day and nobody answers my emails."},
        ),
        description="Which class a text belongs to.",
    ),
}


def configurations(pipeline: Pipeline, facts: Facts, priority: Priority) -> dict[str, str]:
    """The text of every config.pbtxt, by the name of its model."""
    layout = LAYOUTS[pipeline.task]
    names = {
        "pipeline": pipeline.name,
        "max_batch_size": MAX_BATCH_SIZE,
        "dynamic_batching": DYNAMIC_BATCHING.get(priority, NO_DELAY),
        **facts.filled_in,
    }
    templates = {pipeline.name: layout.ensemble, **{pipeline.step(role): file for role, file in layout.steps.items()}}
    return {model: _filled(file, names) for model, file in templates.items()}


def _filled(file: str, names: Mapping[str, object]) -> str:
    return string.Template((TEMPLATES / file).read_text(encoding="utf-8")).substitute(names)
