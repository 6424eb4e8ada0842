"""Tensors as a Python step meets them: `pb_utils.Tensor`, its data types, and how BYTES travel.

After python_backend's pb_tensor.cc and pb_utils.cc. Arrays cross from one process to another there, so what arrives is
always a copy, contiguous, with BYTES as `bytes` objects.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_tools.data_types import STRING

Array = npt.NDArray[Any]

NUMPY_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "TYPE_BOOL": np.bool_,
        "TYPE_UINT8": np.uint8,
        "TYPE_UINT16": np.uint16,
        "TYPE_UINT32": np.uint32,
        "TYPE_UINT64": np.uint64,
        "TYPE_INT8": np.int8,
        "TYPE_INT16": np.int16,
        "TYPE_INT32": np.int32,
        "TYPE_INT64": np.int64,
        "TYPE_FP16": np.float16,
        "TYPE_FP32": np.float32,
        "TYPE_FP64": np.float64,
        STRING: np.object_,
    }
)
"""By the names of config.pbtxt, in the order of Triton's numbers, which begin with 1."""


class TritonModelException(Exception):
    """What the backend itself raises inside a step, `pb_utils.TritonModelException`."""


def type_of(array: Array) -> str:
    """The config.pbtxt name of an array's data type. Raises TritonModelException for one that Triton has not."""
    for name, numpy_type in NUMPY_TYPES.items():
        if array.dtype == numpy_type or (name == STRING and array.dtype.type is np.bytes_):
            return name
    raise TritonModelException("NumPy dtype is not supported.")


def serialize_byte_tensor(input_tensor: Array) -> Any:
    """Each element with its length before it, in C order; () for none and None for what is not BYTES."""
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype != np.object_ and input_tensor.dtype.type is not np.bytes_:
        return None
    elements = (_as_bytes(element) for element in input_tensor.ravel(order="C").tolist())
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def deserialize_bytes_tensor(encoded_tensor: Any) -> Array:
    """The reverse, as a flat array of `bytes`."""
    data, offset, found = bytes(encoded_tensor), 0, []
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        offset += 4 + length
        found.append(data[offset - length : offset])
    return np.array(found, dtype=np.object_)


def _as_bytes(element: Any) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode("utf-8")


def delivered(array: Array) -> Array:
    """The array as the other side gets it: a contiguous copy, each element of BYTES a `bytes` object."""
    if type_of(array) != STRING:
        return np.array(array, order="C", copy=True)
    copied = np.empty(array.size, dtype=np.object_)
    copied[:] = [_as_bytes(element) for element in array.ravel(order="C").tolist()]
    return copied.reshape(array.shape)


class Tensor:
    """`pb_utils.Tensor`: a named array."""

    __slots__ = ("_array", "_encoded", "_name", "_type")

    def __init__(self, name: str, array: Array) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(
                "__init__(): incompatible constructor arguments. The following argument types are supported:\n"
                "    1. c_python_backend_utils.Tensor(arg0: str, arg1: numpy.ndarray)\n\n"
                f"Invoked with: {name!r}, {array!r}"
            )
        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        self._name = name
        self._type = type_of(array)
        self._array = np.ascontiguousarray(array) if array.ndim else array
        # Text is encoded when the tensor is made, so a later change of the array does not reach it; numbers are read
        # when the tensor is sent.
        self._encoded = delivered(array) if self._type == STRING else None

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        """The array itself: a step that writes into it writes into its own copy."""
        return self._array

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def triton_dtype(self) -> int:
        """Raises TypeError, as in the real module of 24.10, which lacks the conversion of what it would return."""
        raise TypeError(
            "Unable to convert function return value to a Python type! The signature was\n"
            "\t(self: c_python_backend_utils.Tensor) -> TRITONSERVER_datatype_enum"
        )

    def is_cpu(self) -> bool:
        return True

    def to_dlpack(self) -> Any:
        """A DLPack capsule. Raises TritonModelException for BYTES."""
        if self._type == STRING:
            raise TritonModelException("DLPack does not have support for string tensors.")
        return self._array.__dlpack__()

    def __dlpack__(self, stream: Any = None) -> Any:
        return self.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    @staticmethod
    def from_dlpack(name: str, tensor: Any) -> Tensor:
        """From a DLPack capsule or an object that makes one, in the memory of the CPU and contiguous."""
        if name == "":
            raise TritonModelException("Tensor name cannot be an empty string.")
        if type(tensor).__name__ == "PyCapsule":
            tensor = _Capsule(tensor)
        elif not hasattr(tensor, "__dlpack__") or not hasattr(tensor, "__dlpack_device__"):
            raise TritonModelException(
                "Provided tensor is not supported. Tensor must be a DLPack capsule         "
                "or have `__dlpack__` and `__dlpack_device__` attributes"
            )
        array = np.from_dlpack(tensor)
        if not array.flags.c_contiguous:
            raise TritonModelException(
                "DLPack tensor is not contiguous. Only contiguous DLPack "
                "tensors that are stored in C-Order are supported."
            )
        return Tensor(name, array)

    def sent(self) -> Array:
        """The data as it leaves the step now. Not part of Triton's module."""
        return delivered(self._array if self._encoded is None else self._encoded)


class _Capsule:
    """What numpy wants around a bare capsule."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)
