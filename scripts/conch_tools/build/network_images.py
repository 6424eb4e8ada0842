"""An image classifier that is a network of PyTorch's or TensorFlow's: its classes, and how its pixels are made.

A function, TorchScript and a SavedModel tell neither; pipeline.toml does, in [image]. An archive of TorchServe's tells
both: the names of its classes lie in it, and what its handler does to an image is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conch_steps.errors import ModelConfigError
from conch_steps.image_decoder import Preprocessing
from conch_tools.build import torchvision_images
from conch_tools.build.networks import NetworkApart, read_network, trusted_archive
from conch_tools.build.tabular_model import numbered_classes
from conch_tools.build.torchserve import ENDING, BadArchive, require_image_handler
from conch_tools.errors import BuildError
from conch_tools.pipelines import PIPELINE_FILE, Pipeline

LOGITS, PROBABILITIES = "logits", "probabilities"
"""What scores are called, by what the labels step has left to do."""
TAKING = "the pixels {} that its preprocessing makes"


@dataclass(frozen=True)
class NetworkImages:
    """The network of a source with what surrounds it."""

    network: NetworkApart
    labels: Sequence[str]
    """In the order of the logits."""
    settings: Mapping[str, Any]
    """The decoder step's."""
    preprocessing: Preprocessing
    """The same, read."""
    is_archive: bool


def read_network_images(pipeline: Pipeline, answer: str = LOGITS) -> NetworkImages:
    """`answer` is what the graph calls its scores.

    Raises BuildError when the source is no image classifier, or is none of what pipeline.toml says.
    """
    if pipeline.source.file is not None and pipeline.source.file.suffix == ENDING:
        return _archived(pipeline, answer)
    file = pipeline.folder / PIPELINE_FILE
    if pipeline.image is None:
        raise BuildError(pipeline.name, f"{file}: a network tells no classes: name labels and preprocessing in [image]")
    settings = pipeline.image.preprocessing
    try:
        preprocessing = Preprocessing.from_settings(settings)
    except (ModelConfigError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BuildError(pipeline.name, f"{file}: image.preprocessing: {problem}") from problem
    network = _network(pipeline, preprocessing, answer)
    labels = pipeline.image.labels or numbered_classes(network.classes)
    if len(labels) != network.classes:
        raise BuildError(
            pipeline.name,
            f"its network answers an image with {network.classes} logits, but {len(labels)} classes are named",
        )
    return NetworkImages(network, labels, settings, preprocessing, is_archive=False)


def _archived(pipeline: Pipeline, answer: str) -> NetworkImages:
    if pipeline.image is not None:
        raise BuildError(
            pipeline.name,
            f"{pipeline.folder / PIPELINE_FILE}: an archive of TorchServe's tells its classes and its preprocessing: "
            "take [image] out",
        )
    archive = trusted_archive(pipeline)
    try:
        require_image_handler(archive)
        settings = torchvision_images.SETTINGS
        preprocessing = Preprocessing.from_settings(settings)
        network = _network(pipeline, preprocessing, answer)
        return NetworkImages(network, archive.class_names(network.classes), settings, preprocessing, is_archive=True)
    except BadArchive as problem:
        raise BuildError(pipeline.name, str(problem)) from problem


def _network(pipeline: Pipeline, preprocessing: Preprocessing, answer: str) -> NetworkApart:
    if preprocessing.shape is None:
        raise BuildError(
            pipeline.name,
            f"{pipeline.folder / PIPELINE_FILE}: image.preprocessing: a batch needs a size, or a crop_size",
        )
    return read_network(pipeline, preprocessing.shape, "pixels", answer, TAKING)
