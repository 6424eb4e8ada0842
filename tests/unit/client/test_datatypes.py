from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conch_client._datatypes import from_bf16, to_bf16

LARGEST_BF16 = float.fromhex("0x1.fep127")


@given(st.floats(-LARGEST_BF16, LARGEST_BF16, width=32))
def test_bf16_is_the_nearest_value_there_is(number: float) -> None:
    pattern = int(to_bf16(np.array([number], dtype=np.float32))[0])
    error = abs(float(from_bf16(np.array([pattern], dtype=np.uint16))[0]) - number)
    # Neighbours in pattern are neighbours in value, on the same side of zero.
    neighbours = [near for near in (pattern - 1, pattern + 1) if near >> 15 == pattern >> 15]
    values = [float(value) for value in from_bf16(np.array(neighbours, dtype=np.uint16)) if np.isfinite(value)]
    assert all(error <= abs(value - number) for value in values)


def test_what_is_nearer_to_the_next_power_than_to_the_largest_value_is_infinite() -> None:
    assert from_bf16(to_bf16(np.array([3.4e38, -3.4e38], dtype=np.float32))).tolist() == [np.inf, -np.inf]


def test_a_tie_goes_to_the_even_pattern() -> None:
    # 1 + 1/256 lies between 0x3F80 and 0x3F81, 1 + 3/256 between 0x3F81 and 0x3F82.
    assert to_bf16(np.array([1 + 1 / 256, 1 + 3 / 256], dtype=np.float32)).tolist() == [0x3F80, 0x3F82]


def test_infinities_and_nan_stay_what_they_are() -> None:
    patterns = np.array([0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF], dtype=np.uint32)
    there_and_back = from_bf16(to_bf16(patterns.view(np.float32)))
    assert there_and_back[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(there_and_back[2:]).all()


@given(st.integers(0, 0xFFFF).filter(lambda pattern: pattern & 0x7F80 != 0x7F80))
def test_every_finite_pattern_survives_the_way_there_and_back(pattern: int) -> None:
    assert to_bf16(from_bf16(np.array([pattern], dtype=np.uint16))).tolist() == [pattern]
