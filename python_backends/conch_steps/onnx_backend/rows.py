"""Requests of several rows, taken apart so that each row shares a call with rows of its own length.

`parameters { key: "ragged_rows" value { string_value: "length" } }` in config.pbtxt declares that rows are
independent, and that the input named (here `length`, integers, [1] a row) says how many leading elements of a
row are its content, the rest being padding. It promises that each row would be a valid request of its own.
The C++ backend ignores the parameter and gives the same answers, only with more padding.

Each row then becomes a request of one row, and every `batch_input` is computed anew from these:

- a ragged input [n, L] is cut to the row's content: [1, length], with at least one element;
- a ragged input that is the source of BATCH_MAX_ELEMENT_COUNT_AS_SHAPE and of no other `batch_input` counts
  by its size alone: it becomes [1, length] zeros. So a request of n rows may send it as [n, ceil(L / n)], to
  tell the graph the width of a row rather than that of the whole request;
- every other input [n, ...] gives its row [1, ...].

A request's outputs are put together in the order of its rows. Where rows went through different calls and an
output has another open dim (labels for each token: [rows, width, labels]), it is padded with zeros to the
widest of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import InvalidInput, ModelConfigError
from conch_steps.onnx_backend.batch import Tensors, Unit
from conch_steps.onnx_backend.config import BackendConfig

PARAMETER = "ragged_rows"
INTEGERS = ("TYPE_INT32", "TYPE_INT64", "TYPE_INT16", "TYPE_UINT32", "TYPE_UINT16")


@dataclass(frozen=True)
class RowRule:
    """Which input tells the content of a row, which ragged inputs are cut to it, which become zeros."""

    length: str
    content: frozenset[str]
    sized: frozenset[str]

    @classmethod
    def from_config(cls, config: BackendConfig) -> RowRule | None:
        """The rule that the configuration declares, if any. Raises ModelConfigError when it cannot hold."""
        if PARAMETER not in config.parameters:
            return None
        length = config.parameters[PARAMETER]
        ragged = [io for io in config.inputs if io.ragged]
        sources = {io.source: set[str]() for io in config.batch_inputs}
        for io in config.batch_inputs:
            sources[io.source].add(io.kind)
        sized = {io.name for io in ragged if sources.get(io.name) == {"BATCH_MAX_ELEMENT_COUNT_AS_SHAPE"}}
        content = {io.name for io in ragged} - sized
        named = [io for io in config.inputs if io.name == length and not io.ragged]
        problem = ""
        if not config.batching:
            problem = "max_batch_size is 0"
        elif not named or named[0].dims not in ((1,), ()) or named[0].data_type not in INTEGERS:
            problem = f"'{length}' must be an input of integers with dims [1]"
        elif not content:
            problem = "no ragged input is left to cut, all count by their size alone"
        elif any(len(io.dims) != 1 for io in ragged):
            problem = "ragged inputs must have one dim"
        elif config.batch_outputs:
            problem = "batch_output cuts outputs by request, not by row"
        if problem:
            raise ModelConfigError(f"model '{config.model}': parameter '{PARAMETER}' cannot be kept: {problem}")
        return cls(length, frozenset(content), frozenset(sized))

    def split(self, request: Unit) -> list[Unit]:
        """One unit a row; a request without rows stays whole.

        Raises InvalidInput for impossible lengths, and for rows of no elements: whether a graph takes these depends on
        what else is in its batch.
        """
        if request.rows == 0:
            return [request]
        lengths = request.inputs[self.length].reshape(-1)
        room = min(request.inputs[name].shape[1] for name in self.content)
        if room == 0:
            raise InvalidInput(f"input '{min(self.content)}' has no elements: every row has at least one")
        if lengths.min() < 0 or lengths.max() > room:
            raise InvalidInput(
                f"input '{self.length}' has values from {lengths.min()} to {lengths.max()}, but rows have "
                f"{room} elements"
            )
        kept = np.maximum(lengths, 1).tolist()
        sized = {name: np.zeros((request.rows, room), request.inputs[name].dtype) for name in self.sized}
        inputs = {**request.inputs, **sized}
        return [Unit(request.owner, self._row(inputs, row, end), 1, end) for row, end in enumerate(kept)]

    def _row(self, inputs: Tensors, row: int, end: int) -> Tensors:
        return {
            name: array[row : row + 1, :end] if self._is_cut(name) else array[row : row + 1]
            for name, array in inputs.items()
        }

    def _is_cut(self, name: str) -> bool:
        return name in self.content or name in self.sized


def join(pieces: Sequence[Tensors]) -> Tensors:
    """The outputs of one request from those of its rows, in order."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: _stack([piece[name] for piece in pieces]) for name in pieces[0]}


def _stack(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) == 1:
        return np.concatenate(parts)
    common = tuple(max(dims) for dims in zip(*shapes, strict=True))
    empty = "" if parts[0].dtype == np.object_ else 0
    stacked = np.full((len(parts), *common), empty, parts[0].dtype)
    for target, part in zip(stacked, parts, strict=True):
        target[tuple(slice(dim) for dim in part.shape[1:])] = part[0]
    return stacked
