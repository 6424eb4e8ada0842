"""Reading what an ONNX file takes and gives without its weights and without a session.

A file of gigabytes is walked over in its wire format: the bodies of large initialisers are skipped, so that
reading takes milliseconds. The C++ backend judges by a session's view, in which ONNX Runtime has inferred
shapes; where the file leaves dims of an output open, ONNX's own shape inference is asked, which closes the
same ones almost always.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from conch_steps.onnx_backend.signature import DATA_TYPES, UNSUPPORTED, GraphSignature, TensorSpec

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME = 1, 2, 8
_KEPT_OF_TENSOR = frozenset({_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME})
"""Field numbers in onnx.proto."""

_SMALL = 1024
"""Initialisers of up to so many bytes are kept whole: shape inference reads targets of reshapes from them."""

_OPERATORS = frozenset(
    {"Affine", "Crop", "DynamicSlice", "GivenTensorFill", "ImageScaler", "MeanVarianceNormalization",
     "ParametricSoftplus", "SampleOp", "Scale", "ScaledTanh", "ThresholdedRelu"}
)  # fmt: skip
"""Operators that ONNX Runtime has under ONNX's own name, and ONNX no more."""

_OVERRIDABLE_SINCE = 4
"""The IR version from which requests may override an initialiser; before, all of them were inputs as well."""

_OWN_DOMAIN = ("", "ai.onnx")
"""The two names of ONNX's own operators."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""


@dataclass(frozen=True)
class Graph:
    """A graph's file and its signature, the operator set of ONNX's own domain and the version of the format.

    `external` names the files that hold its weights, as paths from its own folder.
    """

    file: Path
    signature: GraphSignature
    opset: int
    ir_version: int
    external: tuple[str, ...]


@dataclass(frozen=True)
class UnreadableGraph:
    """A file that is no ONNX model, or whose inputs and outputs Triton cannot carry."""

    file: Path
    problem: str


def read_graph(file: Path) -> Graph | UnreadableGraph:
    """The signature of an ONNX file, or why there is none."""
    try:
        model = onnx.ModelProto.FromString(_without_weights(file))
    except (DecodeError, ValueError, IndexError):
        return UnreadableGraph(file, "this is no ONNX model, or only a part of one")
    if not model.graph.output:
        return UnreadableGraph(file, "this is no ONNX model: it has no outputs")
    opset = max((each.version for each in model.opset_import if each.domain in _OWN_DOMAIN), default=1)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type not in onnx.TensorProto.DataType.values():
            number = value.type.tensor_type.elem_type
            return UnreadableGraph(file, f"`{value.name}` is of type {number}, which ONNX does not have")
        if not value.type.HasField("tensor_type"):
            kind = value.type.WhichOneof("value")
            return UnreadableGraph(file, f"`{value.name}` is a {kind}, but Triton carries plain tensors only")
    if (fault := _fault(model, opset)) is not None:
        return UnreadableGraph(file, f"this is no sound ONNX model: {fault}")
    return Graph(file, _signature(model), opset, model.ir_version, _external_files(model))


def _external_files(model: onnx.ModelProto) -> tuple[str, ...]:
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return tuple(dict.fromkeys(entry.value for entry in entries if entry.key == "location"))


def _is_operator(name: str, opset: int) -> bool:
    """Whether an operator set of ONNX's own has an operator, and has not given it up."""
    try:
        return not onnx.defs.get_schema(name, opset).deprecated
    except onnx.defs.SchemaError:
        return False


def _fault(model: onnx.ModelProto, opset: int) -> str | None:
    """A tensor that comes from nowhere, or an operator that there is not; ONNX Runtime refuses both."""
    known = {*_OPERATORS, *(function.name for function in model.functions)}
    available = {"", *(value.name for value in (*model.graph.input, *model.graph.initializer))}
    available |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    available.update(name for node in model.graph.node for name in node.output)
    for node in model.graph.node:
        if node.domain in _OWN_DOMAIN and node.op_type not in known and not _is_operator(node.op_type, opset):
            in_others = f" in operator set {opset}" if onnx.defs.has(node.op_type) else ""
            return f"there is no operator `{node.op_type}`{in_others}"
        for name in node.input:
            if name not in available:
                return f"an operator `{node.op_type}` reads `{name}`, which nothing gives"
    for value in model.graph.output:
        if value.name not in available:
            return f"nothing gives its output `{value.name}`"
    return None


def _signature(model: onnx.ModelProto) -> GraphSignature:
    inputs = {value.name: _spec(value) for value in model.graph.input}
    outputs = {value.name: _spec(value) for value in model.graph.output}
    if any(-1 in spec.dims[1:] or not spec.dims for spec in outputs.values()):
        outputs = {**outputs, **_inferred_outputs(model)}
    initialised = {tensor.name for tensor in model.graph.initializer}
    overridable = {name: spec for name, spec in inputs.items() if name in initialised}
    return GraphSignature(
        inputs={name: spec for name, spec in inputs.items() if name not in initialised},
        outputs=outputs,
        overridable=overridable if model.ir_version >= _OVERRIDABLE_SINCE else {},
    )


def _inferred_outputs(model: onnx.ModelProto) -> dict[str, TensorSpec]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    return {value.name: _spec(value) for value in inferred.graph.output}


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    element = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return TensorSpec(value.name, DATA_TYPES.get(element, UNSUPPORTED), dims)


def _without_weights(file: Path) -> bytes:
    """The file as a ModelProto whose large initialisers have a name, a type and dims only."""
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = bytearray()
        for field in _fields(data, 0, len(data)):
            if field.number == _MODEL_GRAPH and field.wire == _BYTES:
                model += _prefixed(_MODEL_GRAPH, _graph_without_weights(data, field))
            else:
                model += data[field.start : field.end]
        return bytes(model)


def _graph_without_weights(data: mmap.mmap, graph: _Field) -> bytes:
    kept = bytearray()
    for field in _fields(data, graph.value, graph.end):
        if field.number == _GRAPH_INITIALIZER and field.end - field.value > _SMALL:
            parts = (part for part in _fields(data, field.value, field.end) if part.number in _KEPT_OF_TENSOR)
            kept += _prefixed(_GRAPH_INITIALIZER, b"".join(data[part.start : part.end] for part in parts))
        else:
            kept += data[field.start : field.end]
    return bytes(kept)


@dataclass(frozen=True)
class _Field:
    """A field in wire format: from `start` to `end`, its value from `value` on."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    """Raises ValueError or IndexError where the bytes are no fields."""
    while start < end:
        tag, value = _varint(data, start)
        wire = tag & 7
        if wire == _BYTES:
            length, value = _varint(data, value)
            stop = value + length
        elif wire == _VARINT:
            stop = _varint(data, value)[1]
        elif wire in (_FIXED64, _FIXED32):
            stop = value + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if stop > end:
            raise ValueError("a field goes beyond the end")
        if not tag >> 3:
            # A download that was given its place on the disk and never came is all zeros, which would be walked over
            # byte by byte.
            raise ValueError("a field has no number")
        yield _Field(tag >> 3, wire, start, value, stop)
        start = stop


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """The number at `position` and the position after it."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7


def _prefixed(number: int, body: bytes) -> bytes:
    """A field of bytes in wire format."""
    header = bytearray([number << 3 | _BYTES])
    length = len(body)
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(header) + bytes([length]) + body
