"""The tensors of an answer as numpy arrays. Pure: bytes in, arrays out."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._call import Call
from ._cast import Array
from ._datatypes import BF16, BYTES, NUMPY_DTYPES, from_bf16
from ._encode import WireTensor
from ._errors import InferenceFailed

LENGTH_BYTES = 4


def decode(tensors: Iterable[WireTensor], one_item: bool, call: Call) -> dict[str, Array]:
    """Arrays by name, without the batch dimension for one item. Raises InferenceFailed for broken data."""
    arrays = {}
    for tensor in tensors:
        try:
            array = _array(tensor)
        except ValueError as exc:
            described = f"{tensor.datatype} {list(tensor.shape)}"
            problem = f"the answer's output '{tensor.name}' ({described}) cannot be read: {exc}"
            raise call.error(InferenceFailed, problem) from exc
        # A model may answer one item with several rows; then the dimension means something and stays.
        one_row = one_item and array.shape[:1] == (1,)
        arrays[tensor.name] = array.reshape(array.shape[1:]) if one_row else array
    return arrays


def _array(tensor: WireTensor) -> Array:
    """A copy, because the message's own memory is read-only and callers expect arrays they may change."""
    if tensor.datatype == BYTES:
        return _texts(_split(tensor.data)).reshape(tensor.shape)
    if tensor.datatype == BF16:
        return from_bf16(np.frombuffer(tensor.data, dtype="<u2")).reshape(tensor.shape)
    dtype = NUMPY_DTYPES.get(tensor.datatype)
    if dtype is None:
        raise ValueError("this client does not know the datatype")
    return np.frombuffer(tensor.data, dtype=dtype).reshape(tensor.shape).copy()


def _split(data: bytes) -> list[bytes]:
    items = []
    offset = 0
    while offset < len(data):
        start = offset + LENGTH_BYTES
        if start > len(data):
            raise ValueError("it ends inside a length")
        (length,) = struct.unpack_from("<I", data, offset)
        offset = start + length
        if offset > len(data):
            raise ValueError(f"an element of {length} bytes ends after the data")
        items.append(data[start:offset])
    return items


def _texts(items: list[bytes]) -> Array:
    """All as str if all are UTF-8, else all as bytes, so that a caller need not ask of each."""
    values: list[Any]
    try:
        values = [item.decode() for item in items]
    except UnicodeDecodeError:
        values = list(items)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
