"""An image classifier that is a network of PyTorch's: its classes, and how its pixels are made.

A function and TorchScript tell neither; pipeline.toml does, in [image]. An archive of TorchServe's tells both: the
names of its classes lie in it, and what its handler does to an image is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conch_steps.errors import ModelConfigError
from conch_steps.image_decoder import Preprocessing
from conch_tools.build import torchvision_images
from conch_tools.build.tabular_model import numbered_classes
from conch_tools.build.torch_networks import NetworkApart, read_network, trusted_archive
from conch_tools.build.torchserve import ENDING, BadArchive, require_image_handler
from conch_tools.errors import BuildError
from conch_tools.pipelines import PIPELINE_FILE, Pipeline

TAKING = "the pixels {} that its preprocessing makes"


@dataclass(frozen=True)
class TorchImages:
    """The network of a source with what surrounds it."""

    network: NetworkApart
    labels: Sequence[str]
    """In the order of the logits."""
    settings: Mapping[str, Any]
    """The decoder step's."""
    preprocessing: Preprocessing
    """The same, read."""
    is_archive: bool


def read_torch_images(pipeline: Pipeline) -> TorchImages:
    """Raises BuildError when the source is no image classifier, or is none of what pipeline.toml says."""
    if pipeline.source.file is not None and pipeline.source.file.suffix == ENDING:
        return _archived(pipeline)
    file = pipeline.folder / PIPELINE_FILE
    if pipeline.image is None:
        raise BuildError(
            pipeline.name, f"{file}: a module or a file tells no classes: name labels and preprocessing in [image]"
        )
    settings = pipeline.image.preprocessing
    try:
        preprocessing = Preprocessing.from_settings(settings)
    except (ModelConfigError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BuildError(pipeline.name, f"{file}: image.preprocessing: {problem}") from problem
    network = _network(pipeline, preprocessing)
    labels = pipeline.image.labels or numbered_classes(network.classes)
    if len(labels) != network.classes:
        raise BuildError(
            pipeline.name,
            f"its network answers an image with {network.classes} logits, but {len(labels)} classes are named",
        )
    return TorchImages(network, labels, settings, preprocessing, is_archive=False)


def _archived(pipeline: Pipeline) -> TorchImages:
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
        network = _network(pipeline, preprocessing)
        return TorchImages(network, archive.class_names(network.classes), settings, preprocessing, is_archive=True)
    except BadArchive as problem:
        raise BuildError(pipeline.name, str(problem)) from problem


def _network(pipeline: Pipeline, preprocessing: Preprocessing) -> NetworkApart:
    if preprocessing.shape is None:
        raise BuildError(
            pipeline.name,
            f"{pipeline.folder / PIPELINE_FILE}: image.preprocessing: a batch needs a size, or a crop_size",
        )
    return read_network(pipeline, preprocessing.shape, "pixels", "logits", TAKING)
