"""What configurations say of a tensor in Triton's terms: how large its elements are, what messages call its data type,
and which shapes its dims allow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

STRING = "TYPE_STRING"
WILDCARD = -1
"""The dim that allows any size."""

_BITS = re.compile(r"\d+$")


def bytes_of(data_type: str) -> int:
    """Of one element, by the name in config.pbtxt; 0 for texts, which have any length, and for no type."""
    bits = _BITS.search(data_type)
    return int(bits[0]) // 8 if bits else int(data_type == "TYPE_BOOL")


def protocol_name(data_type: str) -> str:
    """What messages call TYPE_STRING and TYPE_FP32: BYTES and FP32."""
    return "BYTES" if data_type == STRING else data_type.removeprefix("TYPE_")


def fits(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes are of one rank and equal wherever neither of them is -1."""
    return len(one) == len(other) and all(a == b or WILDCARD in (a, b) for a, b in zip(one, other, strict=True))
