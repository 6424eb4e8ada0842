"""Encoded images to the pixel tensor a vision model was trained on.

What to do to an image is the model's affair and travels with it: preprocessor_config.json in Hugging Face's form.
Images come from strangers, so size is checked from the header before a single pixel is decoded, and only three formats
open.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError
from conch_steps.parameters import Declaration, whole_number
from conch_steps.serving import StepModel

PREPROCESSING_FILE = "preprocessor_config.json"
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
"""Larger images are refused: 50 megapixels decode to 200 MB, which no model here has a use for."""
REQUEST_FACTOR = 4
"""A request's images together may have this many times the pixels of one: a backend answers one request at a time, and
64 images of the largest size would keep everyone else waiting for a minute."""
PIXELS = whole_number("max_pixels", MAX_PIXELS)
CONVERSION, AS_PILLOW = "conversion", "pillow"
"""A setting of our own, which `conch build` writes beside those of Hugging Face."""
CROP_START, ROUNDED = "crop_start", "rounded"
"""Another, for models that were measured with torchvision."""
WARPED_EDGE = 384
"""From this edge on ConvNeXt's models were evaluated on whole images."""
WHITE = (255, 255, 255, 255)
_TURNS: Mapping[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image of each Exif orientation upright."""


@dataclass(frozen=True)
class Preprocessing:
    """The part of Hugging Face's image processor settings that is honoured here, in its order of application."""

    grayscale: bool
    as_pillow: bool
    """Whether an image is first converted as Pillow does, and with it transformers' pipelines: alpha is dropped, and
    what needs more than 8 bits is as bright as can be. A model is served as it was measured."""
    on_white: bool
    """Whether transparency shows white, as far as it is still there, and 16 bits become the upper 8."""
    size: Mapping[str, int] | None
    resample: Image.Resampling
    crop_size: Mapping[str, int] | None
    rounds_crop: bool
    """Whether a margin of half a pixel is rounded to an even number, as torchvision does, and not down."""
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
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise ModelConfigError(f"{path} is not a usable image processor file: {problem}") from problem

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """From the decoded JSON; absent switches have Hugging Face's default, off."""
        grayscale = bool(settings.get("do_grayscale", False))
        channels = 1 if grayscale else 3
        normalize = settings.get("do_normalize", False)
        size, crop_size = _size_and_crop(settings)
        as_pillow = settings.get(CONVERSION) == AS_PILLOW
        return cls(
            grayscale=grayscale,
            as_pillow=as_pillow,
            on_white=not as_pillow or bool(settings.get("do_convert_rgb", False)),
            size=size,
            resample=Image.Resampling(settings.get("resample", Image.Resampling.BILINEAR)),
            crop_size=crop_size,
            rounds_crop=settings.get(CROP_START) == ROUNDED,
            rescale_factor=float(settings["rescale_factor"]) if settings.get("do_rescale", False) else 1.0,
            mean=_each(channels, settings["image_mean"] if normalize else 0.0),
            std=_each(channels, settings["image_std"] if normalize else 1.0),
        )

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the pixels; None where height and width depend on the image."""
        exact = self.crop_size or self.size or {}
        if not {"height", "width"} <= exact.keys():
            return None
        return (1 if self.grayscale else 3), exact["height"], exact["width"]


def _size_and_crop(settings: Mapping[str, Any]) -> tuple[Mapping[str, int] | None, Mapping[str, int] | None]:
    """What to resize to and what to cut out of that. Raises ValueError for a form that is not honoured."""
    size = _size(settings["size"]) if settings.get("do_resize", False) else None
    crop = _size(settings["crop_size"], edge=False) if settings.get("do_center_crop", False) else None
    if size is None or settings.get("crop_pct") is None:
        return size, crop
    # ConvNeXt's rule, which ResNet and others share: a square is cut out of an image that is larger by crop_pct, but
    # large squares take the whole image, warped.
    if "shortest_edge" not in size:
        raise ValueError(f"crop_pct goes with a size by its shortest_edge, not {dict(size)}")
    edge = size["shortest_edge"]
    square = {"height": edge, "width": edge}
    if crop not in (None, square):
        raise ValueError(f"crop_pct cuts out {edge} x {edge}, but crop_size is {crop}")
    if edge >= WARPED_EDGE:
        return square, None
    return {"shortest_edge": int(edge / settings["crop_pct"])}, square


def _size(size: Mapping[str, int | None], edge: bool = True) -> Mapping[str, int]:
    """A size in a form that is honoured. Raises ValueError."""
    said = {name: value for name, value in size.items() if value is not None}
    if said.keys() == {"height", "width"} or (edge and said.keys() == {"shortest_edge"}):
        return said
    raise ValueError(f"{said} is not height and width alone{', nor shortest_edge alone' if edge else ''}")


def _each(channels: int, values: float | Sequence[float]) -> npt.NDArray[np.float32]:
    """One number for all channels, or one each, as [channels, 1, 1]. Raises ValueError for another count."""
    return np.broadcast_to(np.asarray(values, dtype=np.float32), (channels,)).reshape(channels, 1, 1)


class ImageDecoder:
    """Decodes and preprocesses images one by one."""

    def __init__(self, preprocessing: Preprocessing, max_pixels: int = MAX_PIXELS) -> None:
        self._preprocessing = preprocessing
        self._max_pixels = max_pixels

    @classmethod
    def load(cls, model: StepModel) -> ImageDecoder:
        """From the model's version folder and parameters. Raises ArtifactError or ModelConfigError."""
        return cls(Preprocessing.from_file(model.version_folder / PREPROCESSING_FILE), PIXELS.of(model))

    def decode(self, images: npt.NDArray[np.object_]) -> npt.NDArray[np.float32]:
        """Pixels FP32 [n, channels, height, width] of `images`, BYTES [n, 1]. Raises InvalidInput naming the image."""
        rows = images.reshape(-1)
        if not len(rows):
            raise InvalidInput("`image` has no rows: send at least one image")
        sizes = [self._open(raw, index).size for index, raw in enumerate(rows)]
        limit = REQUEST_FACTOR * self._max_pixels
        if sum(width * height for width, height in sizes) > limit:
            raise InvalidInput(
                f"the images of this request have more than {limit} pixels together: send them in several requests"
            )
        # Opened anew, because an open image keeps its pixels for as long as it is held.
        decoded = [self._pixels(_upright(self._open(raw, index), index), index) for index, raw in enumerate(rows)]
        if len({pixels.shape for pixels in decoded}) > 1:
            raise InvalidInput(
                "the images of this request differ in size and this model does not resize: send them singly"
            )
        return np.stack(decoded)

    def _pixels(self, image: Image.Image, index: int) -> npt.NDArray[np.float32]:
        steps = self._preprocessing
        mode = "L" if steps.grayscale else "RGB"
        if steps.as_pillow:
            image = image.convert(mode)
        if steps.on_white:
            image = _eight_bit_on_white(image)
        image = image.convert(mode)
        if steps.size is not None:
            width, height = _target(image.size, steps.size)
            if width * height > self._max_pixels:
                raise InvalidInput(
                    f"`image`[{index}] is {image.width} x {image.height}, too long and narrow for this model: crop it"
                )
            image = image.resize((width, height), steps.resample)
        pixels = np.asarray(image, dtype=np.float32)
        pixels = pixels[None] if steps.grayscale else pixels.transpose(2, 0, 1)
        if steps.crop_size is not None:
            size = steps.crop_size["height"], steps.crop_size["width"]
            pixels = _center_crop(pixels, *size, rounded=steps.rounds_crop)
        return (pixels * np.float32(steps.rescale_factor) - steps.mean) / steps.std

    def _open(self, raw: bytes, index: int) -> Image.Image:
        """The image with its header read and its size checked; no pixel is decoded yet."""
        with _pillow_on(index):
            image = Image.open(io.BytesIO(raw), formats=FORMATS)
        if image.width * image.height > self._max_pixels:
            raise InvalidInput(
                f"`image`[{index}] has {image.width} x {image.height} pixels, the limit is {self._max_pixels} in all: "
                "send a smaller image"
            )
        return image


DECLARED = Declaration((PIXELS,), {PREPROCESSING_FILE: ImageDecoder.load})


@contextlib.contextmanager
def _pillow_on(index: int) -> Iterator[None]:
    """Translate what Pillow raises, which on damaged files can be anything, into InvalidInput; hide its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError as problem:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise InvalidInput(f"`image`[{index}] is not a {formats} image") from problem
    except Image.DecompressionBombError as problem:
        raise InvalidInput(f"`image`[{index}] has too many pixels: send a smaller image") from problem
    except MemoryError:
        raise
    except Exception as problem:
        raise InvalidInput(f"`image`[{index}] cannot be decoded, it is damaged or cut off: {problem}") from problem


def _upright(image: Image.Image, index: int) -> Image.Image:
    """The first frame, as its Exif orientation has it."""
    with _pillow_on(index):
        image.load()
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> object:
    """The Exif orientation. Damaged metadata counts as none: viewers show such an image all the same."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return None


def _eight_bit_on_white(image: Image.Image) -> Image.Image:
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
    short = size["shortest_edge"]
    # In this order, as Hugging Face has it: a factor of short / min(...) would lose a pixel of some sizes to rounding.
    long = int(short * max(width, height) / min(width, height))
    return (short, long) if width <= height else (long, short)


def _center_crop(pixels: npt.NDArray[np.float32], height: int, width: int, rounded: bool) -> npt.NDArray[np.float32]:
    """The middle of [channels, H, W]; smaller images are padded with zeros, as Hugging Face does."""
    missing = [max(0, height - pixels.shape[1]), max(0, width - pixels.shape[2])]
    if any(missing):
        pads = [(0, 0)] + [(gap - gap // 2, gap // 2) for gap in missing]
        pixels = np.pad(pixels, pads)
    margins = pixels.shape[1] - height, pixels.shape[2] - width
    top, left = (round(margin / 2) if rounded else margin // 2 for margin in margins)
    return pixels[:, top : top + height, left : left + width]
