"""Named Python values as the tensors of one request to one model. Pure: a ModelSpec in, bytes out.

A model with a batch dimension may be given one item or a batch, and ranks tell which: a value with the rank
of an item is one, a value with one dimension more is a batch. Where an item is a single value (dims [1], as
Conch's texts and images are), a bare value is one item and a list of n values is a batch of n, also when n is
1. What was one item on the way out is one item on the way back: `Encoded.one_item` says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ._call import Call
from ._cast import Array, Misfit, as_array, unreadable
from ._datatypes import BF16, BYTES, to_bf16
from ._errors import InvalidInput
from ._inputs import public_value
from ._spec import ModelSpec, TensorSpec

Shape = tuple[int, ...]


class WireTensor(NamedTuple):
    """A tensor as it travels, in a request or an answer."""

    name: str
    datatype: str
    shape: Shape
    data: bytes


class Encoded(NamedTuple):
    """The tensors of a request, and whether they hold one item to which the batch dimension was added."""

    tensors: list[WireTensor]
    one_item: bool


class Arranged(NamedTuple):
    """The same as arrays in the shapes that are sent; BYTES are objects of type bytes."""

    arrays: dict[str, Array]
    one_item: bool


def encode(spec: ModelSpec, values: Mapping[str, object], call: Call) -> Encoded:
    """Raises InvalidInput, naming the tensor and the reason, if the values do not fit the model."""
    arrays, one_item = arrange(spec, values, call)
    return Encoded([_wire(spec.inputs[name], array) for name, array in arrays.items()], one_item)


def arrange(spec: ModelSpec, values: Mapping[str, object], call: Call) -> Arranged:
    """What `encode` sends, before it is bytes. Raises InvalidInput as it does."""
    _check_names(spec, values, call)
    arrays = {}
    for name, value in values.items():
        tensor = spec.inputs[name]
        try:
            prepared = public_value(name, value) if tensor.datatype == BYTES else value
            arrays[name] = as_array(prepared, tensor.datatype)
        except Exception as exc:
            # A value's own code may raise anything where it is read.
            problem = exc if isinstance(exc, Misfit) else unreadable(value, exc)
            raise call.error(InvalidInput, f"input '{name}' ({_described(spec, tensor)}): {problem}") from exc
    if spec.max_batch_size == 0:
        shapes, one_item = _without_batch(spec, arrays, call), False
    else:
        shapes, one_item = _with_batch(spec, arrays, call)
    return Arranged({name: array.reshape(shapes[name]) for name, array in arrays.items()}, one_item)


def _check_names(spec: ModelSpec, values: Mapping[str, object], call: Call) -> None:
    for name in values:
        if name not in spec.inputs:
            problem = f"the model has no input '{name}'{did_you_mean(name, spec.inputs)}"
            raise call.error(InvalidInput, f"{problem}; {_inputs_of(spec)}")
    for name, tensor in spec.inputs.items():
        if name not in values and not tensor.optional:
            raise call.error(InvalidInput, f"input '{name}' is missing; {_inputs_of(spec)}")


def _inputs_of(spec: ModelSpec) -> str:
    return "it takes " + ", ".join(f"{tensor.name} {_described(spec, tensor)}" for tensor in spec.inputs.values())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    # Here and not above: it is for errors only, and imports are on the clock.
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def _described(spec: ModelSpec, tensor: TensorSpec) -> str:
    batch = ["batch"] if spec.max_batch_size > 0 else []
    dims = ["any" if size == -1 else str(size) for size in tensor.dims]
    return f"{tensor.datatype} [{', '.join(batch + dims)}]"


def _without_batch(spec: ModelSpec, arrays: Mapping[str, Array], call: Call) -> dict[str, Shape]:
    shapes = {}
    for name, array in arrays.items():
        item = _item_shape(spec.inputs[name], array.shape)
        if item is None:
            raise _wrong_shape(spec, name, array.shape, call)
        shapes[name] = item
    return shapes


def _with_batch(spec: ModelSpec, arrays: Mapping[str, Array], call: Call) -> tuple[dict[str, Shape], bool]:
    items, batches = {}, {}
    for name, array in arrays.items():
        tensor = spec.inputs[name]
        items[name] = _item_shape(tensor, array.shape)
        batches[name] = _batch_shape(tensor, array.shape)
        if items[name] is None and batches[name] is None:
            raise _wrong_shape(spec, name, array.shape, call)
    as_batch = {name: shape for name, shape in batches.items() if shape is not None}
    if len(as_batch) == len(arrays):
        _check_batch(spec, {name: shape[0] for name, shape in as_batch.items()}, call)
        return as_batch, False
    as_item = {name: (1, *shape) for name, shape in items.items() if shape is not None}
    if len(as_item) == len(arrays):
        return as_item, True
    lone = next(name for name in arrays if name not in as_batch)
    many = next(name for name in arrays if name not in as_item)
    raise call.error(InvalidInput, f"input '{lone}' is one item, but '{many}' is a batch: give the same number of each")


def _item_shape(tensor: TensorSpec, shape: Shape) -> Shape | None:
    """The shape as one item, None if it cannot be one. A bare value is a tensor of one element."""
    if shape == () and all(size in (1, -1) for size in tensor.dims):
        return (1,) * len(tensor.dims)
    return shape if _fits(shape, tensor.dims) else None


def _batch_shape(tensor: TensorSpec, shape: Shape) -> Shape | None:
    """The shape as a batch of items, None if it cannot be one."""
    if len(shape) == 1 and tensor.takes_one_value:
        return (*shape, 1)
    return shape if shape and _fits(shape[1:], tensor.dims) else None


def _fits(shape: Shape, dims: Shape) -> bool:
    return len(shape) == len(dims) and all(want in (-1, size) for size, want in zip(shape, dims, strict=True))


def _check_batch(spec: ModelSpec, sizes: Mapping[str, int], call: Call) -> None:
    (first, size), *others = sizes.items() if sizes else [("", 1)]
    for name, other in others:
        if other != size:
            raise call.error(InvalidInput, f"input '{first}' has a batch of {size}, but '{name}' one of {other}")
    if size == 0:
        raise call.error(InvalidInput, f"input '{first}' has a batch of 0: give at least one item")
    if size > spec.max_batch_size:
        raise call.error(
            InvalidInput,
            f"a batch of {size} is over the model's maximum of {spec.max_batch_size}: "
            f"send at most {spec.max_batch_size} items in a call",
        )


def _wrong_shape(spec: ModelSpec, name: str, shape: Shape, call: Call) -> InvalidInput:
    wanted = _described(spec, spec.inputs[name])
    hint = "; 'batch' may be left out for one item" if spec.max_batch_size > 0 else ""
    return call.error(InvalidInput, f"input '{name}' takes {wanted}{hint}, got shape {list(shape)}")


def _wire(tensor: TensorSpec, array: Array) -> WireTensor:
    return WireTensor(tensor.name, tensor.datatype, array.shape, raw_bytes(array, tensor.datatype))


def raw_bytes(array: Array, datatype: str) -> bytes:
    """The elements in row-major order, as `as_array` made them, in Triton's binary form."""
    if datatype == BYTES:
        return b"".join([part for item in array.flat for part in (struct.pack("<I", len(item)), item)])
    if datatype == BF16:
        return to_bf16(array).tobytes()
    return array.tobytes()
