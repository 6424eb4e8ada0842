"""What turns a pipeline.toml into artifacts and into a reference: one builder a task.

A builder loads its source model once, when it is made. `stage` writes what the steps serve; `reference` asks the source
library the same questions that the server will be asked, so it never looks at what was staged. The questions are those
of `corpus`, or a user's own.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from conch_tools.build.quality import Quality
from conch_tools.build.reference import Item, Reference
from conch_tools.build.staging import Staged
from conch_tools.pipelines import Pipeline, Task


class Builder(Protocol):
    """The builder of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Load the source model. Raises BuildError saying what is missing and how to get it."""

    def stage(self, staged: Staged) -> None:
        """Write every artifact of the pipeline's steps."""

    def corpus(self) -> Sequence[Item]:
        """What a build asks: mixed, awkward, and the same every time."""

    def reference(self, items: Sequence[Item]) -> Reference:
        """What the source library makes of each item."""

    def quality(self) -> Quality | None:
        """How to measure the served pipeline on held-out data; None where there is none."""


# By name, because each pulls in torch and its own framework, which only the process that builds pays for.
BUILDERS: Mapping[Task, str] = {
    "feature-extraction": "text:EmbeddingBuilder",
    "text-classification": "text:TextClassifierBuilder",
    "token-classification": "entities:TokenClassifierBuilder",
    "zero-shot-classification": "zero_shot:zero_shot_builder",
    "fill-mask": "fill_mask:FillMaskBuilder",
    "image-classification": "image:ImageClassifierBuilder",
    "time-series-forecasting": "forecast:ForecastBuilder",
    "tabular-classification": "tabular:tabular_classifier",
    "tabular-vote": "tabular:TabularVoteBuilder",
    "retrieval": "search:RetrievalBuilder",
    "question-answering": "question:QuestionAnsweringBuilder",
    "zero-shot-image-classification": "image_text:ImageTextBuilder",
}


def builder_of(pipeline: Pipeline) -> Builder:
    """The builder of the pipeline's task, its source model loaded."""
    module, name = BUILDERS[pipeline.task].split(":")
    kind = getattr(importlib.import_module(f"conch_tools.build.{module}"), name)
    return cast(Builder, kind(pipeline))
