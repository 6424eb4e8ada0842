"""A source's own image processor, and the settings with which the decoder step makes the same pixels.

A step that makes other pixels than its model was trained on answers, and answers wrongly; no message would tell. So the
step is held against the processor itself, on pictures of all forms: what it cannot do is refused when it is built.

Pillow's version of a processor is taken, not torchvision's, where there are both: its arithmetic is the step's.
torchvision's resize gives some pixels that are one grey level off, or two where a small image is enlarged by a bicubic
or Lanczos filter.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_utils import load_image

from conch_steps.errors import ModelConfigError
from conch_steps.image_decoder import AS_PILLOW, CONVERSION, ImageDecoder, Preprocessing
from conch_tools.build.model_folder import require_no_code
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import Pipeline

PROCESSOR_CONFIG = "preprocessor_config.json"
Pixels = npt.NDArray[np.float32]
"""[channels, height, width]."""
GREY_LEVELS = 1.001
"""That a pixel may be off: one, and the rounding of numbers."""
HONOURED = {
    *("do_resize", "size", "resample", "crop_pct", "do_center_crop", "crop_size", "do_grayscale"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
    # Pictures are in RGB before a processor sees them, and label maps of a segmentation are none of a classifier's.
    *("do_convert_rgb", "do_reduce_labels", "image_processor_type", "processor_class", CONVERSION),
}
"""Settings that the decoder step obeys, or that change no pixel."""


class SourceProcessor:
    """The image processor in a source's folder."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        """Raises BuildError when there is none, and for one whose settings the decoder step cannot read."""
        self._pipeline = pipeline
        try:
            self.transformers: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as problem:
            require_no_code(pipeline.name, folder, PROCESSOR_CONFIG)
            raise BuildError(
                pipeline.name, f"transformers finds no image processor in {folder}: {first_line(problem)}"
            ) from problem
        self.settings: Mapping[str, Any] = {
            # With every default filled in: older files leave half of them out.
            **json.loads(self.transformers.to_json_string()),
            CONVERSION: AS_PILLOW,
        }
        try:
            self._preprocessing = Preprocessing.from_settings(self.settings)
        except (ModelConfigError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise self._unusable(str(problem)) from problem

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the pixels. Raises BuildError where these depend on the image."""
        shape = self._preprocessing.shape
        if shape is None:
            raise self._unusable("it makes pixels of any height and width; a batch needs a size, or a crop_size")
        return shape

    def pixels(self, raw: bytes) -> Pixels:
        """What the processor itself makes of an encoded image, opened as transformers' pipelines open it."""
        made = self.transformers(images=opened(raw), return_tensors="np")["pixel_values"][0]
        return np.asarray(made, dtype=np.float32)

    def require_same_pixels(self, images: Sequence[bytes]) -> None:
        """Raise BuildError when the decoder step makes others of one of these."""
        decoder = ImageDecoder(self._preprocessing)
        for raw in images:
            made = decoder.decode(np.array([[raw]], dtype=np.object_))[0]
            off = self._levels_off(made, self.pixels(raw))
            if not off <= GREY_LEVELS:
                others = sorted(name for name, value in self.settings.items() if value and name not in HONOURED)
                cause = f" (not honoured: {', '.join(others)})" if others else ""
                how = "of another size" if np.isinf(off) else f"up to {off:.0f} grey levels off"
                raise self._unusable(f"the decoder step makes pixels {how}{cause}")

    def _levels_off(self, made: Pixels, expected: Pixels) -> float:
        """The largest difference in grey levels; infinite for another shape."""
        if made.shape != expected.shape:
            return float("inf")
        level = self._preprocessing.rescale_factor / self._preprocessing.std
        return float(np.abs((made - expected) / level).max())

    def _unusable(self, problem: str) -> BuildError:
        kind = self.settings.get("image_processor_type", type(self.transformers).__name__)
        return BuildError(self._pipeline.name, f"its image processor, {kind}, cannot be served: {problem}")


def opened(raw: bytes) -> Image.Image:
    """An encoded image as transformers' pipelines open it: upright, in RGB."""
    return load_image(Image.open(io.BytesIO(raw)))
