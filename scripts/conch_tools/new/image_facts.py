"""What the source of an image pipeline tells of itself: the pixels that it takes, and how many images fit a batch."""

from __future__ import annotations

import math

from conch_tools.build.sources import model_config, source_folder
from conch_tools.new.facts import Facts, classes
from conch_tools.pipelines import Pipeline

BATCH_BYTES = 28 << 20
"""Of the pixels of a batch. The step that makes them and the one that takes them each keep theirs in /dev/shm, of which
a container has 64 MiB unless it is told otherwise."""
FP32_BYTES = 4


# What reads a source is imported where it is needed, because it brings torch along.


def image_classification(pipeline: Pipeline) -> Facts:
    """Of a Hugging Face image classifier."""
    from conch_tools.build.image_classifiers import image_classifier_config

    config = image_classifier_config(pipeline)
    shape = _shape_of_pixels(pipeline)
    told = {"pixels": _dims(shape), "output": "logits", "output_dims": config.num_labels, **classes(pipeline, config)}
    return Facts(told, largest_batch=_largest_batch(shape))


def zero_shot_image_classification(pipeline: Pipeline) -> Facts:
    """Of a CLIP model."""
    from conch_tools.build.image_text import require_clip

    require_clip(pipeline, model_config(pipeline))
    shape = _shape_of_pixels(pipeline)
    # Open as in the graphs that are built, which Triton compares.
    told = {"pixels": _dims(shape), "output": "embedding", "output_dims": -1, "about_output": "", "segments": ""}
    return Facts(told, largest_batch=_largest_batch(shape))


def _shape_of_pixels(pipeline: Pipeline) -> tuple[int, int, int]:
    """Channels, height and width of an image, as its own image processor makes it."""
    from conch_tools.build.image_processors import SourceProcessor

    return SourceProcessor(pipeline, source_folder(pipeline)).shape


def _dims(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _largest_batch(shape: tuple[int, ...]) -> int:
    """A power of two."""
    rows = BATCH_BYTES // (math.prod(shape) * FP32_BYTES)
    return 1 << max(0, rows.bit_length() - 1)
