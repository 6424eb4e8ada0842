"""The ragged head: one graph that takes texts of any lengths, several to a request, without padding on the way.

Triton's dynamic batcher joins only requests of equal shapes. A ragged input is exempt, but arrives flat: all ids of all
requests behind one another. The head finds the rows in it again and gives any Hugging Face encoder the padded matrix
and the mask it expects, inside the graph, so ONNX Runtime and TensorRT serve the same file.

Inputs of the graph, for a batch of `rows` texts in any number of requests:

    input_ids  INT32 [elements]  all requests' [n, L] id matrices, flat
    segments   INT32 [elements]  the segment of each id, where the encoder tells question from context; else absent
    length     INT32 [rows, 1]   how many ids of each row count; the rest is padding within its request
    span       INT32 [spans]     unused: Triton needs every config input in the graph, and `width` is derived from it
    row_size   INT32 [rows, 1]   L of the row's request (batch_input BATCH_ITEM_SHAPE)
    width      FP32  [W]         W >= the longest row, told by shape alone (BATCH_MAX_ELEMENT_COUNT_AS_SHAPE of `span`)

`width` cannot come from `input_ids`: element counts include the batch dimension of a request, so a request of n texts
would count n * L. `span` is [n, ceil(L / n)] for that reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch

from conch_tools.build.ragged_feed import GRAPH_INPUTS, ragged_feed

OPSET = 17
ARGUMENTS = ("input_ids", "length", "row_size", "width", "segments")
"""Of RaggedHead.forward, in its order."""
EXAMPLE_ROWS = ((1, 2, 3), (1, 2, 3, 4))
EXAMPLE_SEGMENTS = ((0, 0, 1), (0, 1, 1, 1))


class RaggedHead(torch.nn.Module):
    """Restores rows and mask from the ragged inputs and hands them to `encoder(ids [rows, W], mask [rows, W])`, or to
    `encoder(ids, mask, segments [rows, W])`."""

    def __init__(self, encoder: torch.nn.Module, max_positions: int, padding: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.max_positions = max_positions
        self.padding = padding

    def forward(
        self,
        input_ids: torch.Tensor,
        length: torch.Tensor,
        row_size: torch.Tensor,
        width: torch.Tensor,
        segments: torch.Tensor | None = None,
    ) -> torch.Tensor:
        starts = torch.cumsum(row_size, dim=0) - row_size
        # `span` rounds up, so W may pass the encoder's last position by up to the texts of a request.
        columns = torch.arange(width.shape[0], dtype=torch.int32)[None, : self.max_positions]
        inside = torch.minimum(columns, row_size - 1)
        elements = (starts + inside).long()
        mask = (columns < length).long()
        rows = [flat[elements].long() * mask for flat in (input_ids, segments) if flat is not None]
        if self.padding:
            rows[0] = rows[0] + self.padding * (1 - mask)
        output: torch.Tensor = self.encoder(rows[0], mask, *rows[1:])
        return output


def export_ragged(
    encoder: torch.nn.Module,
    max_positions: int,
    output: str,
    path: Path,
    segments: bool = False,
    padding: int = 0,
) -> None:
    """Write the encoder with its ragged head to `path` as ONNX; `output` names its only result, [rows, ...] or, of
    every token, [rows, W, ...]. `padding` is the id behind the end of a row, for encoders that look at it."""
    # torch.onnx.export restores the training mode it found; a wrapper that is not in eval mode brings dropout back.
    head = RaggedHead(encoder, max_positions, padding).eval()
    example = ragged_feed([EXAMPLE_ROWS], [EXAMPLE_SEGMENTS] if segments else None)
    feed = {name: torch.from_numpy(value) for name, value in example.items() if name != "span"}
    with torch.no_grad():
        per_token = head(**feed).dim() == 3
    names = [name for name in ARGUMENTS if name in feed]
    with warnings.catch_warnings(), torch.no_grad():
        # The TorchScript exporter is deprecated, but gives exact graphs for every encoder here; tracing warns of
        # branches on shapes that are constant in these models.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            head,
            tuple(feed[name] for name in names),
            str(path),
            input_names=names,
            output_names=[output],
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={
                "input_ids": {0: "elements"},
                "segments": {0: "elements"},
                "length": {0: "rows"},
                "row_size": {0: "rows"},
                "width": {0: "width"},
                output: {0: "rows", 1: "tokens"} if per_token else {0: "rows"},
            },
        )
    if head.training:
        raise RuntimeError("the exporter left the model in training mode")
    _declare_span(path)


def _declare_span(path: Path) -> None:
    model = onnx.load(str(path))
    span = onnx.helper.make_tensor_value_info("span", onnx.TensorProto.INT32, ["spans"])
    inputs: Mapping[str, onnx.ValueInfoProto] = {each.name: each for each in (*model.graph.input, span)}
    del model.graph.input[:]
    model.graph.input.extend(inputs[name] for name in GRAPH_INPUTS if name in inputs)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
