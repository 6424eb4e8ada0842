"""What a text classifier is to its builder, whoever trained it: a network, its classes, its limits.

A classifier of Hugging Face's form says in its config.json whether one class of many fits a text, or several at once;
transformers' own pipeline reads it there, and so does the reference. The same holds for classifiers of images, which
image_classifiers.py describes with the functions here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from conch_tools.build.encoders import source_model
from conch_tools.build.sources import model_config, source_folder, token_positions
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import text_training

SEVERAL = "multi_label_classification"
"""A config.json's problem_type where any number of classes may fit a text."""
ONE = "single_label_classification"
Activation = Callable[[torch.Tensor], torch.Tensor]
"""Logits [n, classes] to scores."""


@dataclass(frozen=True)
class TextClassifier:
    """A network that maps (ids [n, L], mask [n, L]) to logits [n, classes]."""

    network: torch.nn.Module
    labels: Sequence[str]
    """In the order of the logits."""
    positions: int
    """Tokens that a text may have at most."""
    scores: Activation
    heldout: Sequence[tuple[str, str]]
    """Texts and their labels that no training saw; empty for a model that brings none."""
    padding: int = 0
    """The id behind the end of a text. Decoders look for the last token that is another one, whatever the mask."""


class SequenceLogits(torch.nn.Module):
    """The logits alone of a Hugging Face sequence classifier."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits


def text_classifier(pipeline: Pipeline) -> TextClassifier:
    """The classifier of a pipeline's source. Raises BuildError when it is none."""
    if pipeline.source.training is None:
        return _given(pipeline)
    training = text_training(pipeline.source.training)
    network = training.load(source_folder(pipeline)).eval()
    return TextClassifier(network, training.labels, training.max_positions(network), softmax, training.heldout())


def class_names(config: Any) -> list[str]:
    """The classes of a config.json in the order of the logits."""
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def fits_several(pipeline: Pipeline, config: Any) -> bool:
    """Whether any number of classes may fit, as transformers decides it. Raises BuildError for a regression."""
    if config.problem_type not in (None, ONE, SEVERAL):
        raise BuildError(
            pipeline.name, f"its source is made for {config.problem_type}: {pipeline.task} needs classes to name"
        )
    return bool(config.problem_type == SEVERAL or config.num_labels == 1)


def _given(pipeline: Pipeline) -> TextClassifier:
    config = model_config(pipeline)
    scores = torch.sigmoid if fits_several(pipeline, config) else softmax
    positions = token_positions(pipeline, config)
    model = source_model(pipeline, AutoModelForSequenceClassification, "sequence classifier")
    return TextClassifier(
        SequenceLogits(model).eval(),
        class_names(config),
        positions,
        scores,
        heldout=(),
        padding=config.pad_token_id or 0,
    )


def softmax(logits: torch.Tensor) -> torch.Tensor:
    """Of the last dimension."""
    return torch.softmax(logits, dim=-1)
