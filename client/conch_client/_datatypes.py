"""Triton's tensor datatypes, what numpy has for them, and BF16, for which numpy has nothing.

BYTES elements are of any length, so they travel as a little-endian uint32 length followed by the bytes; all
others travel as they lie in memory, little-endian, row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = "BYTES"
BF16 = "BF16"

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The datatypes that travel as numpy keeps them."""

SIGNIFICANT_BITS = {"BF16": 8, "FP16": 11, "FP32": 24, "FP64": 53}
"""Whole numbers of up to so many binary digits are exact in a floating-point type."""


def to_bf16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of the float32 patterns, flat, rounded to nearest with ties to even; NaN stays NaN."""
    values = np.ravel(array)
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x0040
    return np.where(np.isnan(values), quiet_nan, rounded).astype("<u2")


def from_bf16(patterns: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Exact: every BF16 value is a float32 value."""
    return (patterns.astype(np.uint32) << 16).view(np.float32)
