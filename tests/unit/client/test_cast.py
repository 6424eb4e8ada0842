from __future__ import annotations

import array as stdlib_array
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch_client._cast import Misfit, as_array
from conch_client._datatypes import NUMPY_DTYPES

if TYPE_CHECKING:
    from tests.unit.client.conftest import Column, Frame

INTEGERS = [name for name in NUMPY_DTYPES if "INT" in name]
FLOATS = ["FP16", "FP32", "FP64", "BF16"]


@pytest.mark.parametrize("datatype", [*NUMPY_DTYPES, "BF16"])
@pytest.mark.parametrize("value", [1, True, 1.0, [1, 0], [[1], [0]], np.array([1, 0], dtype=np.int8), range(2)])
def test_numbers_a_datatype_can_hold_become_an_array_of_it(datatype: str, value: object) -> None:
    array = as_array(value, datatype)
    assert array.dtype == NUMPY_DTYPES.get(datatype, np.dtype(np.float32))
    assert array.tolist() == np.asarray(value).tolist()


def test_an_array_of_the_right_dtype_is_not_copied() -> None:
    array = np.ones(3, dtype=np.float32)
    assert as_array(array, "FP32") is array


@pytest.mark.parametrize("datatype", INTEGERS)
@given(number=st.integers(-(2**70), 2**70))
def test_a_whole_number_arrives_unchanged_or_not_at_all(datatype: str, number: int) -> None:
    limits = np.iinfo(NUMPY_DTYPES[datatype])
    if limits.min <= number <= limits.max:
        assert as_array([number], datatype).tolist() == [number]
    else:
        with pytest.raises(Misfit):
            as_array([number], datatype)


@pytest.mark.parametrize("datatype", FLOATS)
@given(number=st.integers(-(2**63), 2**64 - 1))
def test_a_whole_number_is_never_rounded_to_another_in_floating_point(datatype: str, number: int) -> None:
    try:
        array = as_array(np.array([number]), datatype)
    except Misfit:
        return
    assert int(array[0]) == number


@pytest.mark.parametrize(
    ("value", "datatype", "reason"),
    [
        (1.5, "INT32", "1.5 is not a whole number, which INT32 needs"),
        ([[1, 2], [3, 300]], "UINT8", r"300 at \[1, 1\] does not fit UINT8 \(0 to 255\)"),
        ([0, -1], "UINT64", r"-1 at \[1\] does not fit UINT64"),
        ([float("nan")], "INT8", r"nan at \[0\] is not a whole number"),
        ([float("-inf")], "INT8", r"-inf at \[0\] is not a whole number"),
        ([2.0**63], "INT64", "does not fit INT64"),
        ([0, 2], "BOOL", r"2 at \[1\] is neither 0 nor 1"),
        (70000.0, "FP16", "70000.0 is too large for FP16"),
        ([1e39], "FP32", r"1e\+39 at \[0\] is too large for FP32"),
        ([3.4e38], "BF16", "too large for BF16"),
        (2**24 + 1, "FP32", "16777217 would be rounded in FP32: pass a floating-point array"),
        (257, "BF16", "257 would be rounded in BF16"),
        (2**70, "INT64", "got a whole number beyond 64 bits"),
        ("7", "INT32", "takes numbers, got text"),
        ([1, None], "FP32", r"takes numbers, got NoneType at \[1\]"),
        ([Decimal(1)], "FP32", "got Decimal"),
        (1 + 2j, "FP32", "got dtype complex128"),
        ([[1, 2], [3]], "FP32", r"ragged: item 1 has shape \[1\] where item 0 has \[2\]"),
        ([1], "FP4", "does not know the datatype FP4"),
    ],
)
def test_what_would_change_is_refused_with_the_value_and_its_place(value: object, datatype: str, reason: str) -> None:
    with pytest.raises(Misfit, match=reason):
        as_array(value, datatype)


def test_fractions_are_rounded_as_floating_point_always_does() -> None:
    assert as_array(0.1, "FP16").item() == float(np.float16(0.1))
    assert as_array(np.pi, "BF16").item() == 3.140625


def test_infinity_and_nan_stay_in_floating_point() -> None:
    for datatype in FLOATS:
        array = as_array([np.inf, -np.inf, np.nan], datatype)
        assert array[:2].tolist() == [np.inf, -np.inf] and np.isnan(array[2])


def test_an_empty_list_is_an_empty_array_of_the_datatype() -> None:
    for datatype in [*INTEGERS, *FLOATS, "BOOL", "BYTES"]:
        assert as_array([], datatype).shape == (0,)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ä", "ä".encode()),
        (b"\xff\x00", b"\xff\x00"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (["a", b"b"], [b"a", b"b"]),
        ([["a"], ["b"]], [[b"a"], [b"b"]]),
        ((bytearray(b"ab"), "c"), [b"ab", b"c"]),
        (np.array(["a", "bc"]), [b"a", b"bc"]),
        (np.array([b"a\x00", "b"], dtype=object), [b"a\x00", b"b"]),
        ([np.array(["a"]), np.array(["b"])], [[b"a"], [b"b"]]),
        (np.str_("a"), b"a"),
    ],
)
def test_text_is_utf8_and_bytes_are_as_they_are(value: object, expected: object) -> None:
    array = as_array(value, "BYTES")
    assert array.dtype == object
    assert array.tolist() == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["a", 7], r"takes text or bytes, got int at \[1\]"),
        (np.array([1.5]), "takes text or bytes, got float"),
        ([None], "got NoneType"),
        (["a", "\udc80"], r"lone surrogate at character 0, which UTF-8 cannot write at \[1\]"),
        ([["a", "b"], ["c"]], r"item 1 has shape \[1\] where item 0 has \[2\]"),
        (["a", ["b"]], r"item 1 has shape \[1\] where item 0 has \[\]"),
    ],
)
def test_what_is_neither_text_nor_bytes_is_refused(value: object, reason: str) -> None:
    with pytest.raises(Misfit, match=reason):
        as_array(value, "BYTES")


def test_frames_columns_and_buffers_are_arrays_too(frame: type[Frame], column: type[Column]) -> None:
    assert as_array(frame({"a": [1, 2], "b": [3.0, 4.0]}), "FP32").tolist() == [[1, 3], [2, 4]]
    assert as_array(column([1, 2.5]), "FP32").tolist() == [1, 2.5]
    assert as_array(column(["a", "b"]), "BYTES").tolist() == [b"a", b"b"]
    assert as_array(stdlib_array.array("d", [1, 2]), "FP32").tolist() == [1, 2]


class Unreadable(Sequence[Any]):
    """As a tensor on a GPU: it is a sequence, but does not let numpy have it."""

    def __array__(self, *args: object, **kwargs: object) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __getitem__(self, index: object) -> Any:
        raise IndexError(index)

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_what_numpy_cannot_read_is_refused_with_its_reason(datatype: str) -> None:
    with pytest.raises(Misfit, match="cuda:0"):
        as_array(Unreadable(), datatype)
