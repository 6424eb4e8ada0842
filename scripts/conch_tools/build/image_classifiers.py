"""What an image classifier is to its builder, whoever trained it: a network, its classes, and how pixels are made.

Of a classifier in Hugging Face's form the reference makes pixels with the model's own image processor, so that how the
decoder step makes them is compared as well. Conch's own trainings were trained through the decoder step: what it makes
of an image is by definition right, and tested where the decoder is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from conch_steps.class_labels import ACTIVATION
from conch_steps.errors import ModelConfigError
from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.build.classifiers import Activation, class_names, fits_several, softmax
from conch_tools.build.encoders import source_model
from conch_tools.build.image_processors import Pixels, SourceProcessor
from conch_tools.build.pictures import pictures
from conch_tools.build.reference import CORPUS_SIZE
from conch_tools.build.sources import model_config, source_folder
from conch_tools.build.step_config import step_parameters
from conch_tools.build.torch_modules import torch_module
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import PIPELINE_FILE, Pipeline
from conch_tools.training import image_training

TRIED_ROWS = 2


@dataclass(frozen=True)
class ImageClassifier:
    """A network that maps pixels [n, channels, height, width] to logits [n, classes]."""

    library: str
    """Whose answers those of the reference are."""
    network: torch.nn.Module
    labels: Sequence[str]
    """In the order of the logits."""
    scores: Activation
    preprocessing: Mapping[str, Any]
    """The decoder step's settings, as in preprocessor_config.json."""
    pixels: Callable[[bytes], Pixels]
    """What the reference makes of an encoded image."""
    corpus: Sequence[bytes]
    """Encoded images of many forms and sizes, for parity."""
    heldout: Sequence[tuple[bytes, str]]
    """Encoded images and their labels that no training saw; empty for a model that brings none."""


class PixelLogits(torch.nn.Module):
    """The logits alone of a Hugging Face image classifier."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits


def image_classifier(pipeline: Pipeline) -> ImageClassifier:
    """The classifier of a pipeline's source. Raises BuildError when it is none, or none that the steps can serve."""
    source = pipeline.source
    if source.training is not None:
        return _trained(source.training)
    return _given(pipeline) if source.module is None and source.file is None else _of_torch(pipeline)


def _trained(name: str) -> ImageClassifier:
    training = image_training(name)
    decoder = ImageDecoder(Preprocessing.from_settings(training.preprocessing))
    return ImageClassifier(
        library="PyTorch",
        network=training.load().eval(),
        labels=training.labels,
        scores=softmax,
        preprocessing=training.preprocessing,
        pixels=lambda raw: decoder.decode(np.array([[raw]], dtype=np.object_))[0],
        corpus=training.corpus(),
        heldout=training.heldout(),
    )


def _given(pipeline: Pipeline) -> ImageClassifier:
    folder, config = source_folder(pipeline), image_classifier_config(pipeline)
    processor = SourceProcessor(pipeline, folder)
    network = PixelLogits(source_model(pipeline, AutoModelForImageClassification, "image classifier")).eval()
    labels = class_names(config)
    _require_fit(pipeline, network, processor.shape, labels)
    corpus = pictures(CORPUS_SIZE)
    processor.require_same_pixels(corpus)
    return ImageClassifier(
        library="transformers",
        network=network,
        labels=labels,
        scores=torch.sigmoid if fits_several(pipeline, config) else softmax,
        preprocessing=processor.settings,
        pixels=processor.pixels,
        corpus=corpus,
        heldout=(),
    )


def _of_torch(pipeline: Pipeline) -> ImageClassifier:
    file = pipeline.folder / PIPELINE_FILE
    if pipeline.image is None:
        raise BuildError(
            pipeline.name, f"{file}: a module or a file tells no classes: name labels and preprocessing in [image]"
        )
    try:
        preprocessing = Preprocessing.from_settings(pipeline.image.preprocessing)
    except (ModelConfigError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BuildError(pipeline.name, f"{file}: image.preprocessing: {problem}") from problem
    if preprocessing.shape is None:
        raise BuildError(pipeline.name, f"{file}: image.preprocessing: a batch needs a size, or a crop_size")
    network = torch_module(pipeline)
    _require_fit(pipeline, network, preprocessing.shape, pipeline.image.labels)
    decoder = ImageDecoder(preprocessing)
    several = step_parameters(pipeline, "labels").get(ACTIVATION.name) == "sigmoid"
    return ImageClassifier(
        library="PyTorch",
        network=network,
        labels=pipeline.image.labels,
        scores=torch.sigmoid if several else softmax,
        preprocessing=pipeline.image.preprocessing,
        pixels=lambda raw: decoder.decode(np.array([[raw]], dtype=np.object_))[0],
        corpus=pictures(CORPUS_SIZE),
        heldout=(),
    )


def image_classifier_config(pipeline: Pipeline) -> Any:
    """The source's config.json. Raises BuildError for an architecture without an image classifier in transformers."""
    config = model_config(pipeline)
    if config.model_type not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise BuildError(
            pipeline.name,
            f"its source is of the architecture `{config.model_type}`, of which transformers has no image classifier",
        )
    return config


def _require_fit(
    pipeline: Pipeline, network: torch.nn.Module, shape: tuple[int, int, int], labels: Sequence[str]
) -> None:
    """Raise BuildError when the network does not take what its preprocessing makes, or knows other classes."""
    try:
        with torch.no_grad():
            logits = network(torch.zeros(TRIED_ROWS, *shape))
    except (RuntimeError, ValueError, TypeError, AttributeError) as problem:
        raise BuildError(
            pipeline.name,
            f"its network does not take the pixels {list(shape)} that its preprocessing makes: {first_line(problem)}",
        ) from problem
    if not isinstance(logits, torch.Tensor):
        raise BuildError(
            pipeline.name,
            f"its network answers {TRIED_ROWS} images with a {type(logits).__name__}, not with a tensor of logits",
        )
    if logits.shape != (TRIED_ROWS, len(labels)):
        raise BuildError(
            pipeline.name,
            f"its network answers {TRIED_ROWS} images with {list(logits.shape)}, but {len(labels)} classes are named",
        )
