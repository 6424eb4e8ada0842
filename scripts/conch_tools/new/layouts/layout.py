"""A layout: what the folders of one task's pipelines hold, and how the facts of a source are filled in.

A template is a config.pbtxt with `$names` in it, one for each kind of step. What its dims are the source tells.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conch_tools.deployment import Priority
from conch_tools.pipelines import Feature, Image, Pipeline, Sample, Table, Text

TEMPLATES = Path(__file__).parent.with_name("templates")
MAX_BATCH_SIZE = 64
DYNAMIC_BATCHING: Mapping[Priority, str] = {
    "throughput": "# Throughput comes first: a batch waits a moment for more requests to join it.\n"
    "dynamic_batching { max_queue_delay_microseconds: 2000 }"
}
"""Of the model step. Without a delay, a request waits for nobody."""
NO_DELAY = "dynamic_batching {}"
CLASS_LABELS = "steps/class_labels.pbtxt"
TEXT_MODEL = "steps/ragged_text_model.pbtxt"


@dataclass(frozen=True)
class Facts:
    """Of one source: the dims that a configuration must state, classes and limits."""

    filled_in: Mapping[str, object]
    """Values of the templates' names."""
    text: Text | None = None
    """Limits of a text pipeline."""
    image: Image | None = None
    """Classes and preprocessing of an image classifier that tells neither."""
    table: Table | None = None
    """Classes of a classifier of rows that does not name them."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """What a row of a tabular pipeline may hold."""
    samples: Sequence[Sample] = ()
    """What the samples send, where the layout cannot know it."""
    largest_batch: int | None = None
    """Where more would not fit through a container's shared memory."""


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
    """What the samples send, names to be filled in among it; the answers they expect are the reference library's."""
    description: str
    limit: str = ""
    """What [text] in pipeline.toml remarks."""
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    """What the samples name: content by path in the pipeline's folder."""
    gate: float = 1e-4
    """That a number of an answer may be off from the reference library's."""

    def sent(self, found: Facts) -> list[Sample]:
        """What the samples of a pipeline send; what they expect is not known yet."""
        if found.samples:
            return list(found.samples)
        return [
            Sample(input={name: _said(value, found.filled_in) for name, value in sent.items()}, expect={})
            for sent in self.samples
        ]

    def configurations(self, pipeline: Pipeline, found: Facts, priority: Priority) -> dict[str, str]:
        """The text of every config.pbtxt, by the name of its model."""
        names = {
            "pipeline": pipeline.name,
            "max_batch_size": min(MAX_BATCH_SIZE, found.largest_batch or MAX_BATCH_SIZE),
            "dynamic_batching": DYNAMIC_BATCHING.get(priority, NO_DELAY),
            **found.filled_in,
        }
        steps = {pipeline.step(role): file for role, file in self.steps.items()}
        templates = {pipeline.name: self.ensemble, **steps}
        return {model: _filled(file, {"model": model, **names}) for model, file in templates.items()}


def _filled(file: str, names: Mapping[str, object]) -> str:
    """A line that holds nothing but the name of nothing goes."""
    lines = (TEMPLATES / file).read_text(encoding="utf-8").splitlines(keepends=True)
    filled = (string.Template(line).substitute(names) for line in lines)
    return "".join(line for line in filled if line.strip())


def _said(value: Any, names: Mapping[str, object]) -> Any:
    return string.Template(value).substitute(names) if isinstance(value, str) else value
