"""Pictures that a build asks image pipelines: of many sizes, modes and formats, and the same every time.

What a picture holds matters little to parity; how it is stored does. An image processor and the decoder step that
stands for it differ, where they do, in what becomes of transparency, of a palette, of more than 8 bits, of an Exif
orientation, or of a size that leaves a fraction.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ExifTags, Image

SIDES = (31, 48, 49, 64, 97, 150, 224, 301)
"""Some with a rounding trap in the resize."""


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(width: int, height: int, seed: int) -> Image.Image:
    """Coloured blocks with noise on them; the same for the same numbers."""
    chance = np.random.default_rng(seed)
    blocks = np.kron(chance.integers(0, 256, (4, 4, 3)), np.ones((1 + height // 4, 1 + width // 4, 1)))
    shades = chance.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(blocks[:height, :width] + shades, 0, 255).astype(np.uint8))


def pictures(count: int) -> list[bytes]:
    """Encoded images in all forms in turns, each of a size of its own."""
    chance = random.Random(count)
    forms = list(FORMS.values())
    return [
        forms[number % len(forms)](noise(chance.choice(SIDES), chance.choice(SIDES), number)) for number in range(count)
    ]


def _with_alpha(image: Image.Image) -> Image.Image:
    """See-through to the left, whole to the right."""
    see_through = image.convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size))
    return see_through


def _turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(image, "JPEG", exif=exif)


def _sixteen_bits(image: Image.Image) -> bytes:
    """Half of it brighter than 8 bits can say."""
    return encoded(Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 2))


FORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG": encoded,
    "JPEG": lambda image: encoded(image, "JPEG", quality=90),
    "WebP": lambda image: encoded(image, "WEBP", quality=90),
    "grey PNG": lambda image: encoded(image.convert("L")),
    "grey JPEG": lambda image: encoded(image.convert("L"), "JPEG"),
    "PNG with alpha": lambda image: encoded(_with_alpha(image)),
    "WebP with alpha": lambda image: encoded(_with_alpha(image), "WEBP"),
    "grey PNG with alpha": lambda image: encoded(_with_alpha(image).convert("LA")),
    "PNG with a palette": lambda image: encoded(image.quantize(16)),
    "PNG with a palette and a hole": lambda image: encoded(image.quantize(16), transparency=0),
    "black and white PNG": lambda image: encoded(image.convert("1")),
    "CMYK JPEG": lambda image: encoded(image.convert("CMYK"), "JPEG"),
    "turned JPEG": _turned,
    "PNG of 16 bits": _sixteen_bits,
}
"""How a picture may be stored."""
