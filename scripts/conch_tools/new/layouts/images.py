"""Pipelines of images: a classifier, or a CLIP model, whose labels come with each request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from conch_tools.build.network_images import LOGITS, PROBABILITIES, read_network_images
from conch_tools.build.networks import is_network
from conch_tools.build.sources import config_in, source_folder
from conch_tools.new.layouts.layout import CLASS_LABELS, TEXT_MODEL, Facts, Layout
from conch_tools.new.layouts.texts import classes
from conch_tools.new.sample_pictures import daisy, landscape
from conch_tools.pipelines import Pipeline, Task

BATCH_BYTES = 28 << 20
"""Of the pixels of a batch. The step that makes them and the one that takes them each keep theirs in /dev/shm, of which
a container has 64 MiB unless it is told otherwise."""
FP32_BYTES = 4
PIXEL_GATE = 1e-3
"""Of the scores of images. Reference and step make pixels with Pillow's arithmetic, alike to a hundredth of a grey
level; but an image processor of which transformers has only torchvision's version is one level off at places, and of
that a score moves: on four small families with random weights by 1e-5 to 9e-4 in the median. A tighter gate would tell
the two libraries apart, not a sound pipeline from a faulty one. A wrong crop, resample kind or order of channels is
refused before it comes to scores: see build/image_processors.py."""
PICTURES = {"samples/landscape.png": landscape, "samples/daisy.png": daisy}
IMAGE_DECODER = "steps/image_decode.pbtxt"
IMAGE_MODEL = "steps/image_model.pbtxt"


# What reads a source is imported where it is needed, because it brings torch along.


def image_classification(pipeline: Pipeline) -> Facts:
    """Of a Hugging Face image classifier, or of a network of PyTorch's."""
    if is_network(pipeline):
        return _network(pipeline)
    from conch_tools.build.image_classifiers import require_image_classifier
    from conch_tools.build.image_processors import SourceProcessor

    folder = source_folder(pipeline)
    config = config_in(pipeline, folder)
    require_image_classifier(pipeline, config)
    shape = SourceProcessor(pipeline, folder).shape
    told = {"pixels": _dims(shape), "output": "logits", "output_dims": config.num_labels, **classes(pipeline, config)}
    return Facts(told, largest_batch=_largest_batch(shape))


def _network(pipeline: Pipeline) -> Facts:
    found = read_network_images(pipeline)
    shape, classes = found.network.shape, found.network.classes
    activation, comment = "softmax", "One class of many fits; sigmoid where several may."
    if found.network.are_probabilities:
        activation, comment = "none", "The model answers probabilities."
    elif classes == 1:
        activation, comment = "sigmoid", "It fits or not."
    told = {
        "pixels": _dims(shape),
        "output": PROBABILITIES if found.network.are_probabilities else LOGITS,
        "output_dims": classes,
        "classes": classes,
        "activation": activation,
        "activation_comment": comment,
    }
    image = pipeline.image and pipeline.image.model_copy(update={"labels": found.labels})
    return Facts(told, image=image, largest_batch=_largest_batch(shape))


def zero_shot_image_classification(pipeline: Pipeline) -> Facts:
    """Of a CLIP model."""
    from conch_tools.build.image_processors import SourceProcessor
    from conch_tools.build.image_text import require_clip

    folder = source_folder(pipeline)
    require_clip(pipeline, config_in(pipeline, folder))
    shape = SourceProcessor(pipeline, folder).shape
    # Open as in the graphs that are built, which Triton compares.
    told = {"pixels": _dims(shape), "output": "embedding", "output_dims": -1, "about_output": "", "segments": ""}
    return Facts(told, largest_batch=_largest_batch(shape))


def _dims(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def _largest_batch(shape: Sequence[int]) -> int:
    """A power of two."""
    rows = BATCH_BYTES // (math.prod(shape) * FP32_BYTES)
    return 1 << max(0, rows.bit_length() - 1)


LAYOUTS: Mapping[Task, Layout] = {
    "image-classification": Layout(
        ensemble="image_classification/ensemble.pbtxt",
        steps={"decode": IMAGE_DECODER, "model": IMAGE_MODEL, "labels": CLASS_LABELS},
        facts=image_classification,
        samples=tuple({"image": path} for path in PICTURES),
        description="Which class an image belongs to.",
        files=PICTURES,
        gate=PIXEL_GATE,
    ),
    "zero-shot-image-classification": Layout(
        ensemble="zero_shot_image_classification/ensemble.pbtxt",
        steps={
            "decode": IMAGE_DECODER,
            "vision": IMAGE_MODEL,
            "words": TEXT_MODEL,
            "match": "steps/image_text_match.pbtxt",
        },
        facts=zero_shot_image_classification,
        samples=tuple({"image": path, "labels": ["a landscape", "a daisy", "a city at night"]} for path in PICTURES),
        description="Which of the labels that you send fits an image.",
        files=PICTURES,
        gate=PIXEL_GATE,
    ),
}
