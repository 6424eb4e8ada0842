"""How large the elements of Triton's data types are."""

from __future__ import annotations

import re

_BITS = re.compile(r"\d+$")


def bytes_of(data_type: str) -> int:
    """Of one element, by the name in config.pbtxt; 0 for texts, which have any length, and for no type."""
    bits = _BITS.search(data_type)
    return int(bits[0]) // 8 if bits else int(data_type == "TYPE_BOOL")
