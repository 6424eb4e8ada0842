"""From requests to one batch, and from the batch's outputs back to requests.

A batch is made of units. A unit is a whole request, or one row of one (see `rows`); the batch's inputs are
computed from its units as the C++ backend computes them from requests:

- inputs are concatenated along the batch dimension; ragged ones flat, to [sum of elements];
- each `batch_input` is computed from the shapes that its source has in the units, batch dimension included;
- outputs are cut by the rows of each unit, those of `batch_output` by the shape of its source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.onnx_backend.config import BackendConfig, BatchInput
from conch_steps.onnx_backend.signature import GraphSignature

Tensors = dict[str, npt.NDArray[Any]]
Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Unit:
    """What a batch is made of. `owner` is the index of its request, `length` its ragged elements a row."""

    owner: int
    inputs: Tensors
    rows: int
    length: int


@dataclass(frozen=True)
class Scatter:
    """How a `batch_output` is cut. `shape` is one unit's; -1 takes the source's dim of the same position."""

    source: str
    shape: tuple[int, ...]

    def shape_for(self, source: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the piece that belongs to a unit whose source has this shape."""
        return tuple(source[axis] if dim == -1 else dim for axis, dim in enumerate(self.shape))


@dataclass(frozen=True)
class BatchLayout:
    """How one model's batches are put together, from its configuration and its graph."""

    model: str
    batching: bool
    ragged: frozenset[str]
    open_shapes: tuple[str, ...]
    """Inputs that are not ragged and have open dims: only units of equal shapes can share a batch."""
    scalar_inputs: frozenset[str]
    scalar_outputs: Mapping[str, tuple[int, ...]]
    """Outputs without dims in the graph, and the dims they get."""
    batch_inputs: tuple[BatchInput, ...]
    outputs: tuple[str, ...]
    scatter: Mapping[str, Scatter]

    @classmethod
    def of(cls, config: BackendConfig, signature: GraphSignature) -> BatchLayout:
        """The layout of a configuration that `validate` has accepted."""
        shapes = {io.name: (-1, *io.dims) if config.batching else io.dims for io in config.outputs}
        graph = {**signature.inputs, **signature.overridable}
        return cls(
            model=config.model,
            batching=config.batching,
            ragged=frozenset(io.name for io in config.inputs if io.ragged),
            open_shapes=tuple(io.name for io in config.inputs if not io.ragged and -1 in io.dims),
            scalar_inputs=frozenset(io.name for io in config.inputs if not graph[io.name].dims),
            scalar_outputs={io.name: io.dims for io in config.outputs if not signature.outputs[io.name].dims},
            batch_inputs=config.batch_inputs,
            outputs=tuple(io.name for io in config.outputs),
            scatter={io.target: Scatter(io.source, shapes[io.target]) for io in config.batch_outputs},
        )

    def whole(self, owner: int, inputs: Tensors) -> Unit:
        """A request as one unit. The C++ backend counts rows by the first input, too."""
        rows = next(iter(inputs.values())).shape[0] if self.batching and inputs else 1
        elements = max((inputs[name].size for name in self.ragged if name in inputs), default=0)
        return Unit(owner, inputs, rows, math.ceil(elements / max(rows, 1)))


def gather(layout: BatchLayout, units: Sequence[Unit]) -> Tensors:
    """The graph's inputs for a batch of `units`, which all have the same inputs."""
    feeds: Tensors = {}
    for name in units[0].inputs:
        arrays = [unit.inputs[name] for unit in units]
        if name in layout.ragged:
            feeds[name] = np.concatenate([array.reshape(-1) for array in arrays])
        elif name in layout.scalar_inputs:
            feeds[name] = _scalar(name, arrays)
        else:
            feeds[name] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    for batch_input in layout.batch_inputs:
        value = batch_input_value(batch_input, [unit.inputs[batch_input.source].shape for unit in units])
        feeds.update(dict.fromkeys(batch_input.targets, value))
    return feeds


def _scalar(name: str, arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if len(arrays) > 1 or arrays[0].size != 1:
        raise InvalidInput(f"input '{name}' is one number in the model, so it takes requests of one row only")
    return arrays[0].reshape(())


def batch_input_value(batch_input: BatchInput, shapes: Shapes) -> npt.NDArray[Any]:
    """One `batch_input`, INT32 or FP32, for sources of these shapes (batch dimension included)."""
    dtype = np.float32 if batch_input.data_type == "TYPE_FP32" else np.int32
    return BATCH_INPUT_KINDS[batch_input.kind](shapes).astype(dtype)


def _element_counts(shapes: Shapes) -> npt.NDArray[np.int64]:
    return np.array([math.prod(shape) for shape in shapes], dtype=np.int64)


def _item_shapes(shapes: Shapes) -> npt.NDArray[np.int64]:
    items = np.array([shape[1:] for shape in shapes], dtype=np.int64)
    return np.repeat(items, [shape[0] for shape in shapes], axis=0)


BATCH_INPUT_KINDS: Mapping[str, Callable[[Shapes], npt.NDArray[np.int64]]] = {
    "BATCH_ELEMENT_COUNT": _element_counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": lambda shapes: _element_counts(shapes).cumsum(),
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda shapes: _element_counts([(0,), *shapes]).cumsum(),
    # Only the shape carries meaning; the C++ backend leaves the values as they are in memory.
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda shapes: np.zeros(_element_counts(shapes).max(), np.int64),
    "BATCH_ITEM_SHAPE": _item_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": lambda shapes: _item_shapes(shapes).reshape(-1),
}
"""The kinds, with values of shape [units], [units], [units + 1], [greatest count], [rows, rank - 1], flat."""


def scatter_back(layout: BatchLayout, units: Sequence[Unit], outputs: Sequence[npt.NDArray[Any]]) -> list[Tensors]:
    """The outputs of a batch, cut for each unit; `outputs` are in the order of `layout.outputs`.

    Raises WrongAnswer, naming the output, when one has more or fewer rows than the batch.
    """
    pieces: list[Tensors] = [{} for _ in units]
    for name, output in zip(layout.outputs, outputs, strict=True):
        if name in layout.scatter:
            parts = _by_source(layout, name, output, units)
        else:
            parts = _by_rows(layout, name, output, units)
        for piece, part in zip(pieces, parts, strict=True):
            piece[name] = part
    return pieces


def _by_rows(layout: BatchLayout, name: str, output: npt.NDArray[Any], units: Sequence[Unit]) -> list[npt.NDArray[Any]]:
    if output.ndim == 0:
        output = output.reshape(layout.scalar_outputs.get(name, ()))
    if not layout.batching:
        return [output]
    expected = sum(unit.rows for unit in units)
    got = output.shape[0] if output.ndim else 0
    if got != expected:
        raise WrongAnswer(
            f"output '{name}' of model '{layout.model}' has {got} rows, expected {expected}, one for each "
            "row of the batch: the graph must keep the batch dimension"
        )
    parts, start = [], 0
    for unit in units:
        parts.append(output[start : start + unit.rows])
        start += unit.rows
    return parts


def _by_source(
    layout: BatchLayout, name: str, output: npt.NDArray[Any], units: Sequence[Unit]
) -> list[npt.NDArray[Any]]:
    rule = layout.scatter[name]
    shapes = [rule.shape_for(unit.inputs[rule.source].shape) for unit in units]
    expected = sum(math.prod(shape) for shape in shapes)
    if output.size != expected:
        raise WrongAnswer(
            f"output '{name}' of model '{layout.model}' has {output.size} elements, expected {expected}, as "
            f"many as batch_output gives it by the shape of '{rule.source}'"
        )
    flat, parts, start = output.reshape(-1), [], 0
    for shape in shapes:
        size = math.prod(shape)
        parts.append(flat[start : start + size].reshape(shape))
        start += size
    return parts
