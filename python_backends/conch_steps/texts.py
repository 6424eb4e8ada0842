"""The bytes of a BYTES tensor as text, with refusals that name the tensor and the place in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from conch_steps.errors import InvalidInput
from conch_steps.parameters import whole_number

MAX_TEXT_BYTES = 1024 * 1024
"""Longer texts are refused: tokenisation is linear in the text, truncation comes after it."""
REQUEST_FACTOR = 4
"""A request's texts together may have this many times the bytes of one: 64 texts of the largest size would keep a step
busy for a minute."""
TEXT_BYTES = whole_number("max_text_bytes", MAX_TEXT_BYTES)
"""Config parameter of the steps that read texts."""


def read_texts(tensor: npt.NDArray[np.object_], name: str, max_bytes: int = MAX_TEXT_BYTES) -> list[str]:
    """The texts of BYTES [n, 1]; `name` is the tensor's. Raises InvalidInput when there is none, for one that is too
    long or not UTF-8, and when they are too long together."""
    given = tensor.reshape(-1)
    if not len(given):
        raise InvalidInput(f"`{name}` has no rows: send at least one text")
    texts = [utf8(raw, f"`{name}`[{index}]", max_bytes) for index, raw in enumerate(given)]
    limit = REQUEST_FACTOR * max_bytes
    if sum(map(len, given)) > limit:
        raise InvalidInput(f"`{name}` has more than {limit} bytes together: send them in several requests")
    return texts


def utf8(raw: bytes, where: str, max_bytes: int) -> str:
    """The text of one element; `where` names it in refusals. Raises InvalidInput when it is too long or not UTF-8."""
    if len(raw) > max_bytes:
        raise InvalidInput(f"{where} has {len(raw)} bytes, the limit is {max_bytes}: shorten it or split it")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InvalidInput(f"{where} is not UTF-8: byte {problem.start} is 0x{raw[problem.start]:02x}") from problem
