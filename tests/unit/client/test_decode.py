from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tritonclient.utils import serialize_byte_tensor

from conch_client import InferenceFailed
from conch_client._call import Call, Deadline
from conch_client._cast import as_array
from conch_client._datatypes import NUMPY_DTYPES
from conch_client._decode import decode
from conch_client._encode import WireTensor, raw_bytes

CALL = Call(endpoint="host:8001", deadline=Deadline(math.inf), model="m", request_id="r")


def read(datatype: str, shape: tuple[int, ...], data: bytes, one_item: bool = False) -> NDArray[np.generic]:
    return decode([WireTensor("y", datatype, shape, data)], one_item, CALL)["y"]


@pytest.mark.parametrize("datatype", list(NUMPY_DTYPES))
@given(data=st.data())
def test_what_was_encoded_is_decoded_to_the_same(datatype: str, data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(NUMPY_DTYPES[datatype], hnp.array_shapes(min_dims=0, min_side=0)))
    decoded = read(datatype, array.shape, raw_bytes(as_array(array, datatype), datatype))
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


def test_bf16_comes_as_float32() -> None:
    decoded = read("BF16", (2,), b"\x80\x3f\x40\x40")
    assert decoded.dtype == np.float32
    assert decoded.tolist() == [1.0, 3.0]


def test_arrays_belong_to_the_caller() -> None:
    decoded = read("INT8", (2,), b"\x01\x02")
    decoded[0] = 7
    assert decoded.tolist() == [7, 2]


@given(st.lists(st.text(max_size=8), max_size=5))
def test_utf8_comes_as_str(texts: list[str]) -> None:
    data = serialize_byte_tensor(np.array(texts, dtype=object)).item() if texts else b""
    assert read("BYTES", (len(texts),), data).tolist() == texts


def test_one_element_that_is_not_utf8_makes_all_of_them_bytes() -> None:
    data = serialize_byte_tensor(np.array([b"ok", b"\xff"], dtype=object)).item()
    assert read("BYTES", (2, 1), data).tolist() == [[b"ok"], [b"\xff"]]


def test_the_batch_dimension_of_one_item_is_removed() -> None:
    assert read("INT8", (1, 2), b"\x01\x02", one_item=True).tolist() == [1, 2]
    assert read("INT8", (1, 2), b"\x01\x02", one_item=False).tolist() == [[1, 2]]
    scalar = read("INT8", (1,), b"\x01", one_item=True)
    assert isinstance(scalar, np.ndarray) and scalar.shape == ()


def test_several_rows_for_one_item_are_kept() -> None:
    assert read("INT8", (2, 1), b"\x01\x02", one_item=True).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "reason"),
    [
        ("INT32", (2,), b"\x01\x00\x00\x00", r"'y' \(INT32 \[2\]\) cannot be read"),
        ("INT32", (1,), b"\x01", "cannot be read"),
        ("BF16", (2,), b"\x01\x00", "cannot be read"),
        ("BYTES", (1,), b"\x02\x00\x00", "it ends inside a length"),
        ("BYTES", (1,), b"\x09\x00\x00\x00ab", "an element of 9 bytes ends after the data"),
        ("BYTES", (2,), b"\x01\x00\x00\x00a", "cannot be read"),
        ("FP4", (1,), b"", "does not know the datatype"),
    ],
)
def test_broken_data_is_an_error_of_the_answer(datatype: str, shape: tuple[int, ...], data: bytes, reason: str) -> None:
    with pytest.raises(InferenceFailed, match=reason) as caught:
        read(datatype, shape, data)
    assert caught.value.model == "m"
