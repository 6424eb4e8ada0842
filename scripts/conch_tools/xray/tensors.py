"""What there is to say of a tensor: shape, type, range, and as much of its content as a person reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conch_tools.likeness import Array
from conch_tools.printable import printable, shortened

SHOWN_VALUES = 8
SHOWN_CHARACTERS = 400
SHOWN_IMAGES = 4
SHOWN_IMAGE_BYTES = 256 * 1024
BYTES_LENGTH_BYTES = 4
"""What Triton writes before each element of a BYTES tensor."""
IMAGE_TYPES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
"""How encoded images begin that every browser shows."""


@dataclass(frozen=True)
class Range:
    """Of the numbers of a tensor that are numbers; infinite ones count, NaN does not."""

    minimum: float
    mean: float
    maximum: float


@dataclass(frozen=True)
class TensorFacts:
    """A tensor in short."""

    wire: str
    datatype: str
    """Triton's name."""
    shape: tuple[int, ...]
    size_bytes: int
    """As it travels."""
    range: Range | None
    """None of texts, and of no numbers at all."""
    nan: int
    """How many values are not a number."""
    infinite: int
    sample: tuple[str, ...]
    """The first values; long texts are cut, which a trailing … says."""
    left_out: int
    """Values that the sample does not show."""
    images: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """The first elements that are encoded images, each with its type (`png`)."""

    @property
    def described(self) -> str:
        """FP32 [1, 384]"""
        return f"{self.datatype} [{', '.join(map(str, self.shape))}]"


def facts_of(wire: str, datatype: str, array: Array) -> TensorFacts:
    """The facts of an array; BYTES are objects of type bytes or str."""
    texts = array.dtype == np.object_
    flat = array.reshape(-1)
    elements = [_bytes(each) for each in flat.tolist()] if texts else []
    floats = array.dtype.kind == "f"
    return TensorFacts(
        wire=wire,
        datatype=datatype,
        shape=array.shape,
        size_bytes=sum(len(each) + BYTES_LENGTH_BYTES for each in elements) if texts else array.nbytes,
        range=None if texts else _range(flat),
        nan=int(np.isnan(flat).sum()) if floats else 0,
        infinite=int(np.isinf(flat).sum()) if floats else 0,
        sample=tuple(map(_text, elements[:SHOWN_VALUES])) if texts else tuple(map(_number, flat[:SHOWN_VALUES])),
        left_out=max(0, flat.size - SHOWN_VALUES),
        images=tuple(_images(elements)),
    )


def as_sent(array: Array) -> Array:
    """The array with texts as bytes: what a step answers is no file name to the next, whatever the tensor is called."""
    if array.dtype != np.object_:
        return array
    sent = np.empty(array.shape, dtype=np.object_)
    sent.reshape(-1)[:] = [_bytes(each) for each in array.reshape(-1).tolist()]
    return sent


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _range(flat: Array) -> Range | None:
    numbers = flat[~np.isnan(flat)] if flat.dtype.kind == "f" else flat
    if not numbers.size:
        return None
    with np.errstate(invalid="ignore"):
        # float64: the sum of many halves is beyond their own type.
        mean = float(np.mean(numbers, dtype=np.float64))
    return Range(float(numbers.min()), mean, float(numbers.max()))


def _text(value: bytes) -> str:
    if _image_type(value):
        return f"{_image_type(value)} image, {len(value)} bytes"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value[:SHOWN_CHARACTERS].hex(" ")
    return printable(shortened(text, SHOWN_CHARACTERS))


def _number(value: Any) -> str:
    if isinstance(value, np.floating):
        number = float(value)
        return f"{number:.4g}" if math.isfinite(number) else str(number)
    return str(value)


def _images(elements: list[bytes]) -> list[tuple[str, bytes]]:
    found = [(_image_type(each), each) for each in elements[:SHOWN_VALUES] if len(each) <= SHOWN_IMAGE_BYTES]
    return [(kind, each) for kind, each in found if kind][:SHOWN_IMAGES]


def _image_type(value: bytes) -> str:
    return next((kind for mark, kind in IMAGE_TYPES.items() if value.startswith(mark)), "")
