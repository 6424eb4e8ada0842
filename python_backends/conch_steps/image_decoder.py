"""Encoded images to the pixel tensor a vision model was trained on.

What to do to an image is the model's affair and travels with it: preprocessor_config.json in Hugging Face's form.
Images come from strangers, so size is checked from the header before a single pixel is decoded, and only three formats
open.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
"""Larger images are refused: 50 megapixels decode to 200 MB, which no model here has a use for."""
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class Preprocessing:
    """The part of Hugging Face's image processor settings that is honoured here, in its order of application."""

    grayscale: bool
    size: Mapping[str, int] | None
    resample: Image.Resampling
    crop_size: Mapping[str, int] | None
    rescale_factor: float
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @classmethod
    def from_file(cls, path: Path) -> Preprocessing:
        """Read preprocessor_config.json. Raises ArtifactError when absent, ModelConfigError when not usable."""
        if not path.is_file():
            raise ArtifactError(f"{path} is missing: run `conch build`")
        try:
            return cls.from_settings(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as problem:
            raise ModelConfigError(f"{path} is not a usable image processor file: {problem}") from problem

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """From the decoded JSON; absent switches have Hugging Face's default, off."""
        grayscale = bool(settings.get("do_grayscale", False))
        channels = 1 if grayscale else 3
        normalize = settings.get("do_normalize", False)
        mean = settings["image_mean"] if normalize else [0.0] * channels
        std = settings["image_std"] if normalize else [1.0] * channels
        return cls(
            grayscale=grayscale,
            size=settings["size"] if settings.get("do_resize", False) else None,
            resample=Image.Resampling(settings.get("resample", Image.Resampling.BILINEAR)),
            crop_size=settings["crop_size"] if settings.get("do_center_crop", False) else None,
            rescale_factor=float(settings["rescale_factor"]) if settings.get("do_rescale", False) else 1.0,
            mean=np.asarray(mean, dtype=np.float32).reshape(channels, 1, 1),
            std=np.asarray(std, dtype=np.float32).reshape(channels, 1, 1),
        )


class ImageDecoder:
    """Decodes and preprocesses images one by one."""

    def __init__(self, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> None:
        self._preprocessing = preprocessing
        self._max_pixels = max_pixels

    def decode(self, images: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
        """Pixels FP32 [n, channels, height, width] of `images`, BYTES [n, 1]. Raises InvalidInput naming the image."""
        rows = images.reshape(-1)
        if not len(rows):
            raise InvalidInput("`image` has no rows: send at least one image")
        return np.stack([self._pixels(raw, index) for index, raw in enumerate(rows)])

    def _pixels(self, raw: bytes, index: int) -> npt.NDArray[np.float32]:
        steps = self._preprocessing
        image = self._open(raw, index)
        image = image.convert("L" if steps.grayscale else "RGB")
        if steps.size is not None:
            image = image.resize(_target(image.size, steps.size), steps.resample)
        pixels = np.asarray(image, dtype=np.float32)
        pixels = pixels[None] if steps.grayscale else pixels.transpose(2, 0, 1)
        if steps.crop_size is not None:
            pixels = _center_crop(pixels, steps.crop_size["height"], steps.crop_size["width"])
        return (pixels * np.float32(steps.rescale_factor) - steps.mean) / steps.std

    def _open(self, raw: bytes, index: int) -> Image.Image:
        """The first frame, upright, transparency on white, 8 bits a channel."""
        try:
            with warnings.catch_warnings():
                # Pillow's own bomb warning comes below our limit check and says nothing more.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(raw), formats=FORMATS)
                width, height = image.size
                if width * height > self._max_pixels:
                    raise InvalidInput(
                        f"`image`[{index}] has {width} x {height} pixels, the limit is {self._max_pixels} in all: "
                        "send a smaller image"
                    )
                image.load()
                upright = ImageOps.exif_transpose(image)
        except UnidentifiedImageError as problem:
            raise InvalidInput(
                f"`image`[{index}] is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
            ) from problem
        except Image.DecompressionBombError as problem:
            raise InvalidInput(f"`image`[{index}] is too large: the limit is {self._max_pixels} pixels") from problem
        except (OSError, SyntaxError, ValueError, EOFError) as problem:
            raise InvalidInput(f"`image`[{index}] cannot be decoded, it is damaged or cut off: {problem}") from problem
        return _eight_bit(upright)


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return image


def _target(current: tuple[int, int], size: Mapping[str, int]) -> tuple[int, int]:
    """(width, height) to resize to: an exact size, or the shortest edge with the aspect ratio kept."""
    if "shortest_edge" not in size:
        return size["width"], size["height"]
    width, height = current
    scale = size["shortest_edge"] / min(width, height)
    return max(1, int(width * scale)), max(1, int(height * scale))


def _center_crop(pixels: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """The middle of [channels, H, W]; smaller images are padded with zeros, as Hugging Face does."""
    missing = [max(0, height - pixels.shape[1]), max(0, width - pixels.shape[2])]
    if any(missing):
        pads = [(0, 0)] + [(gap - gap // 2, gap // 2) for gap in missing]
        pixels = np.pad(pixels, pads)
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]
