"""Images and feature rows as people have them, turned into what the pipelines' public tensors take.

`image` takes an encoded file, so a path is read, a PIL image or a uint8 array is encoded as PNG, bytes pass
as they are. `features` takes a JSON object, so a mapping or a row of a DataFrame is written as one. Anything
else, `text` above all, passes untouched: a text that happens to be the name of a file is still a text.

Pillow and pandas are recognised by what they offer, never imported for it: who passes such an object has
them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ._cast import Misfit, materialised
from ._json import as_json

GREY_OR_COLOUR_CHANNELS = (1, 3, 4)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
ALPHA_MODES = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
"""What keeps the transparency of modes that PNG does not have."""
UNSCALED_MODES = {
    "I": "convert('L') if they go from 0 to 255, convert('I;16') if to 65535",
    "F": "convert('L') if they go from 0 to 255, else scale them to that first",
}
"""Modes whose numbers have no fixed range, so that none of them says how bright it is, and the cure."""


@runtime_checkable
class PilImage(Protocol):
    """A PIL image, as far as it is needed; whatever offers this is taken for one."""

    @property
    def mode(self) -> str: ...

    def convert(self, mode: str) -> PilImage: ...

    def save(self, fp: Any, format: str, **params: Any) -> None: ...


def public_value(tensor: str, value: object) -> object:
    """The value, or the values in lists, for the BYTES tensor of this name. Raises Misfit."""
    if tensor == "image":
        return _images(value)
    if tensor == "features":
        return _features(value)
    return value


def _images(value: object) -> object:
    if isinstance(value, PilImage):
        return _png(value)
    value = materialised(value)
    if isinstance(value, list | tuple):
        return [_images(item) for item in value]
    if isinstance(value, np.ndarray):
        return _image_array(value)
    return _encoded_image(value)


def _encoded_image(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str | os.PathLike):
        return _file(value)
    hint = ": pass what its read() gives" if hasattr(value, "read") else ""
    raise Misfit(f"an image is a path, bytes, a PIL image or a uint8 array, got {type(value).__name__}{hint}")


def _file(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise Misfit(f"an image given as text is a path, and {str(path)[:100]!r} cannot be read ({reason})") from exc


def _image_array(array: NDArray[Any]) -> object:
    """Pixels: [H, W] or [H, W, channels] is one image, [N, H, W, channels] several. Objects: any images."""
    if array.dtype.kind in "OSU":
        return _images(array.tolist())
    if array.dtype != np.uint8:
        raise Misfit(f"the pixels of an image are uint8 from 0 to 255, got {array.dtype}")
    if array.ndim == 4:
        return [_encoded_array(image) for image in array]
    return _encoded_array(array)


def _encoded_array(array: NDArray[np.uint8]) -> bytes:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in GREY_OR_COLOUR_CHANNELS):
        raise Misfit(
            f"an image array has shape [H, W] or [H, W, 1, 3 or 4], got {list(array.shape)}; "
            "pass several as a list of arrays"
        )
    try:
        from PIL import Image
    except ImportError as exc:
        raise Misfit("encoding an array needs Pillow: pip install pillow, or pass the bytes of a PNG") from exc
    return _png(Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array))


def _png(image: PilImage) -> bytes:
    """Lossless, and at the fastest level: the network is nearer than a smaller file."""
    if image.mode in UNSCALED_MODES:
        cure = UNSCALED_MODES[image.mode]
        raise Misfit(f"the numbers of a PIL image of mode {image.mode} are of no fixed range: use {cure}")
    buffer = io.BytesIO()
    try:
        _in_png_mode(_upright(image)).save(buffer, format="PNG", compress_level=1)
    except (OSError, ValueError, SystemError) as exc:
        raise Misfit(f"Pillow cannot encode the image: {exc}") from exc
    return buffer.getvalue()


def _upright(image: Any) -> PilImage:
    """Turned as the camera's Exif orientation says, as the server turns a file. The PNG will not say it."""
    try:
        from PIL import ImageOps

        return ImageOps.exif_transpose(image)
    except Exception:
        # Damaged metadata counts as none: viewers show such an image all the same.
        return image  # type: ignore[no-any-return]


def _in_png_mode(image: PilImage) -> PilImage:
    if image.mode in PNG_MODES:
        return image
    if image.mode.startswith("I;16"):
        # The same numbers in another order of bytes, for which Pillow has no direct way.
        return image.convert("I").convert("I;16")
    return image.convert(ALPHA_MODES.get(image.mode, "RGB"))


def _features(value: object) -> object:
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [_row(row) for row in value.to_dict(orient="records")]
    value = materialised(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_features(item) for item in value]
    return _row(value) if isinstance(value, Mapping) else value


def _row(row: Mapping[Any, Any]) -> str:
    for name, value in row.items():
        if isinstance(value, float | np.floating) and not np.isfinite(value):
            raise Misfit(f"the feature '{name}' is {value}, which is not a number; write None for a missing value")
    try:
        return as_json(row)
    except Misfit as misfit:
        raise Misfit(f"the features {misfit}; write None for a missing value") from misfit
