"""What an image classifier is to its builder, whoever trained it: a network, its classes, and how pixels are made.

Of a classifier in Hugging Face's form the reference makes pixels with the model's own image processor, and of one of
TorchServe's with its handler's transforms, so that how the decoder step makes them is compared as well. Conch's own
trainings were trained through the decoder step: what it makes of an image is by definition right, and tested where the
decoder is. Where pipeline.toml says how pixels are made, nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from conch_steps.class_labels import ACTIVATION
from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.build import torchvision_images
from conch_tools.build.classifiers import Activation, class_names, fits_several, softmax
from conch_tools.build.encoders import source_model
from conch_tools.build.image_processors import Pixels, SourceProcessor
from conch_tools.build.network_images import LOGITS, PROBABILITIES, read_network_images
from conch_tools.build.networks import is_network
from conch_tools.build.pictures import pictures
from conch_tools.build.reference import CORPUS_SIZE
from conch_tools.build.sources import config_in, source_folder
from conch_tools.build.step_config import step_parameters
from conch_tools.build.torch_graph import export_rows
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import Pipeline
from conch_tools.training import image_training

TRIED_ROWS = 2
ACTIVATIONS: Mapping[str, Activation] = {"softmax": softmax, "sigmoid": torch.sigmoid, "none": torch.clone}
"""What the labels step makes of a network's answers, by its parameter."""
Images = npt.NDArray[np.float32]
"""[n, channels, height, width], or what a network answers to them."""


@dataclass(frozen=True)
class ImageClassifier:
    """A network and what surrounds it."""

    library: str
    """Whose answers those of the reference are."""
    network: Network
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
    output: str = LOGITS
    """What the graph calls its answers."""


class Network(Protocol):
    """Maps pixels [n, channels, height, width] to logits [n, classes]."""

    def answers(self, rows: Images) -> Images:
        """Logits [n, classes], of each image alone."""

    def write_graph(self, path: Path) -> None:
        """As ONNX, from `pixels` to `logits`. Raises BuildError where torch cannot."""


@dataclass(frozen=True)
class NetworkHere:
    """One of this process."""

    pipeline: str
    module: torch.nn.Module
    example: Images
    """Of two images: one alone could be taken for a constant."""

    def answers(self, rows: Images) -> Images:
        """Logits [n, classes], of each image alone."""
        with torch.no_grad():
            return np.stack([self.module(torch.from_numpy(each[None]))[0].numpy() for each in rows])

    def write_graph(self, path: Path) -> None:
        """As ONNX, from `pixels` to `logits`. Raises BuildError where torch cannot."""
        try:
            export_rows(self.module, torch.from_numpy(self.example), path, "pixels", "logits")
        except RuntimeError as problem:
            raise BuildError(
                self.pipeline, f"torch cannot write its network as an ONNX graph: {first_line(problem)}"
            ) from problem


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
        return _trained(pipeline.name, source.training)
    return _network(pipeline) if source.file is not None or is_network(pipeline) else _given(pipeline)


def _trained(pipeline: str, name: str) -> ImageClassifier:
    training = image_training(name)
    pixels = _by_step(ImageDecoder(Preprocessing.from_settings(training.preprocessing)))
    corpus = training.corpus()
    return ImageClassifier(
        library="PyTorch",
        network=NetworkHere(pipeline, training.load().eval(), np.stack(list(map(pixels, corpus[:TRIED_ROWS])))),
        labels=training.labels,
        scores=softmax,
        preprocessing=training.preprocessing,
        pixels=pixels,
        corpus=corpus,
        heldout=training.heldout(),
    )


def _given(pipeline: Pipeline) -> ImageClassifier:
    folder = source_folder(pipeline)
    config = config_in(pipeline, folder)
    require_image_classifier(pipeline, config)
    processor = SourceProcessor(pipeline, folder)
    network = PixelLogits(source_model(pipeline, AutoModelForImageClassification, "image classifier")).eval()
    labels = class_names(config)
    _require_fit(pipeline, network, processor.shape, labels)
    corpus = pictures(CORPUS_SIZE)
    processor.require_same_pixels(corpus)
    return ImageClassifier(
        library="transformers",
        network=NetworkHere(pipeline.name, network, np.stack(list(map(processor.pixels, corpus[:TRIED_ROWS])))),
        labels=labels,
        scores=torch.sigmoid if fits_several(pipeline, config) else softmax,
        preprocessing=processor.settings,
        pixels=processor.pixels,
        corpus=corpus,
        heldout=(),
    )


def _network(pipeline: Pipeline) -> ImageClassifier:
    said = step_parameters(pipeline, "labels").get(ACTIVATION.name, ACTIVATION.default)
    output = PROBABILITIES if said == "none" else LOGITS
    found = read_network_images(pipeline, output)
    return ImageClassifier(
        library=found.network.library,
        network=found.network,
        labels=found.labels,
        scores=ACTIVATIONS.get(said or "", softmax),
        preprocessing=found.settings,
        pixels=torchvision_images.pixels if found.is_archive else _by_step(ImageDecoder(found.preprocessing)),
        corpus=pictures(CORPUS_SIZE),
        heldout=(),
        output=output,
    )


def _by_step(decoder: ImageDecoder) -> Callable[[bytes], Pixels]:
    return lambda raw: decoder.decode(np.array([[raw]], dtype=np.object_))[0]


def require_image_classifier(pipeline: Pipeline, config: Any) -> None:
    """Raise BuildError for a config.json of an architecture without an image classifier in transformers."""
    if config.model_type not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise BuildError(
            pipeline.name,
            f"its source is of the architecture `{config.model_type}`, of which transformers has no image classifier",
        )


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
