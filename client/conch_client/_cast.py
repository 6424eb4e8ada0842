"""Python values as arrays of one of Triton's datatypes, or a precise reason why not. Pure.

The rule is that no value changes. Whole numbers must stay the numbers they are, also in a floating-point
tensor; only fractions are rounded, as floating point always does, and never to infinity. Text and numbers are
never taken for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._datatypes import BF16, BYTES, NUMPY_DTYPES, SIGNIFICANT_BITS, from_bf16, to_bf16

Array = NDArray[Any]


class Misfit(ValueError):
    """A value does not fit a tensor. Says why, but not which tensor: whoever knows its name adds that."""


def unreadable(value: object, error: Exception) -> str:
    """The sentence for a value whose own code, or Python's limits, kept it from being read."""
    if isinstance(error, RecursionError):
        return f"the {type(value).__name__} is nested too deeply"
    return f"the {type(value).__name__} cannot be read, it raised {type(error).__name__}"


def as_array(value: object, datatype: str) -> Array:
    """`value` as an array of the datatype: BYTES as objects of type bytes, BF16 as float32. Raises Misfit."""
    if datatype == BYTES:
        return _bytes_array(value)
    if datatype == BF16:
        return _to_bf16_precision(_numbers(value))
    if datatype not in NUMPY_DTYPES:
        raise Misfit(f"this client does not know the datatype {datatype}")
    target = NUMPY_DTYPES[datatype]
    array = _numbers(value)
    if array.dtype == target:
        return array
    if target.kind == "f":
        return _to_float(array, target, datatype)
    if target.kind == "b":
        return _to_bool(array)
    return _to_integer(array, target, datatype)


def materialised(value: object) -> object:
    """An array-like as an array, anything else as it is. numpy's own scalars count as scalars."""
    if hasattr(value, "__array__") and not isinstance(value, np.ndarray | np.generic):
        return _read_by_numpy(value)
    return value


def _read_by_numpy(value: object) -> Array:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as exc:
        raise Misfit(f"numpy cannot read the {type(value).__name__}: {exc}") from exc


def _bytes_array(value: object) -> Array:
    value = materialised(value)
    if isinstance(value, list | tuple):
        shape = nested_shape(value)
    elif isinstance(value, np.ndarray):
        shape = value.shape
    else:
        shape = ()
    leaves: list[object] = []
    _collect(value, leaves)
    array = np.empty(len(leaves), dtype=object)
    for index, leaf in enumerate(leaves):
        try:
            array[index] = _as_bytes(leaf)
        except Misfit as misfit:
            raise Misfit(f"{misfit}{_place(shape, index)}") from misfit.__cause__
    return array.reshape(shape)


def _as_bytes(item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        try:
            return item.encode()
        except UnicodeEncodeError as exc:
            raise Misfit(f"the text holds a lone surrogate at character {exc.start}, which UTF-8 cannot write") from exc
    if isinstance(item, bytearray | memoryview):
        return bytes(item)
    raise Misfit(f"it takes text or bytes, got {type(item).__name__}")


def _collect(value: object, leaves: list[object]) -> None:
    value = materialised(value)
    if isinstance(value, np.ndarray):
        leaves.extend(value.ravel().tolist())
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, leaves)
    else:
        leaves.append(value)


def nested_shape(value: object) -> tuple[int, ...]:
    """The shape of nested lists. Raises Misfit, naming the first item that differs, when they are ragged."""
    value = materialised(value)
    if isinstance(value, np.ndarray):
        return value.shape
    if not isinstance(value, list | tuple):
        return ()
    if not value:
        return (0,)
    first = nested_shape(value[0])
    for index, item in enumerate(value):
        shape = nested_shape(item)
        if shape != first:
            raise Misfit(
                f"the lists are ragged: item {index} has shape {list(shape)} where item 0 has {list(first)};"
                " send items of one shape in a call"
            )
    return (len(value), *first)


def check_unmasked(value: object) -> None:
    """Raises Misfit for a masked array, of which numpy would give what lies under the mask."""
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        raise Misfit("some of its values are masked, and a tensor has no mask: fill them first, with filled()")


def _numbers(value: object) -> Array:
    """As numpy reads the value, if that is numbers or booleans."""
    check_unmasked(value)
    try:
        array = _read_by_numpy(value)
    except Misfit:
        # Most often the lists are ragged, and this says where.
        nested_shape(value)
        raise
    if array.dtype.kind == "O":
        # Columns of a DataFrame often keep plain numbers as objects.
        array = _read_by_numpy(array.tolist())
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    raise Misfit(f"it takes numbers, got {_stranger(array)}")


def _stranger(array: Array) -> str:
    if array.dtype.kind in "US":
        return "text"
    if array.dtype.kind == "O":
        for index, item in enumerate(array.flat):
            if not isinstance(item, int | float):
                return f"{type(item).__name__}{_place(array.shape, index)}"
        return "a whole number beyond 64 bits"
    return f"dtype {array.dtype}"


def _to_float(array: Array, target: np.dtype[Any], datatype: str) -> Array:
    if array.dtype.kind in "iu":
        _check_whole_numbers(array, datatype)
    with np.errstate(over="ignore"):
        result = array.astype(target)
    _refuse(array, np.isfinite(array) & ~np.isfinite(result), lambda v: f"{v} is too large for {datatype}")
    return result


def _to_bf16_precision(array: Array) -> Array:
    if array.dtype.kind in "iu":
        _check_whole_numbers(array, BF16)
    wide = _to_float(array, NUMPY_DTYPES["FP32"], BF16)
    rounded = from_bf16(to_bf16(wide)).reshape(wide.shape)
    _refuse(array, np.isfinite(wide) & ~np.isfinite(rounded), lambda v: f"{v} is too large for {BF16}")
    return rounded


def _check_whole_numbers(array: Array, datatype: str) -> None:
    bits = SIGNIFICANT_BITS[datatype]
    if array.dtype.itemsize * 8 <= bits:
        return
    limit = array.dtype.type(2**bits)
    beyond = array > limit
    if array.dtype.kind == "i":
        beyond |= array < -limit
    for index in np.flatnonzero(beyond):
        number = int(array.flat[index])
        odd_part = abs(number) // (number & -number)
        if odd_part.bit_length() > bits:
            raise Misfit(
                f"{number}{_place(array.shape, int(index))} would be rounded in {datatype}: "
                "pass a floating-point array if that is meant"
            )


def _to_integer(array: Array, target: np.dtype[Any], datatype: str) -> Array:
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (np.trunc(array) == array)
        _refuse(array, ~whole, lambda v: f"{v} is not a whole number, which {datatype} needs")
    limits = np.iinfo(target)
    if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
        outside = np.array([not limits.min <= int(number) <= limits.max for number in array.flat])
        range_ = f"({limits.min} to {limits.max})"
        _refuse(array, outside, lambda v: f"{v} does not fit {datatype} {range_}")
    return array.astype(target)


def _to_bool(array: Array) -> Array:
    _refuse(array, (array != 0) & (array != 1), lambda v: f"{v} is neither 0 nor 1, which BOOL needs")
    return array.astype(np.bool_)


def _refuse(array: Array, wrong: Array | np.bool_, sentence: Callable[[str], str]) -> None:
    """Raises Misfit for the first value that is marked wrong, with its place."""
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise Misfit(sentence(f"{array.flat[index].item()}{_place(array.shape, index)}"))


def _place(shape: tuple[int, ...], flat_index: int) -> str:
    return f" at {[int(i) for i in np.unravel_index(flat_index, shape)]}" if shape else ""
