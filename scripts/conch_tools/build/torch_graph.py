"""A network of PyTorch's as an ONNX graph: one tensor of rows in, one of scores out."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from conch_tools.build.ragged import OPSET


def export_rows(network: torch.nn.Module, example: torch.Tensor, path: Path, given: str, answer: str) -> None:
    """Write the graph from `given` [n, …] to `answer` [n, classes]. One row as the example could be taken for a
    constant: give two. Raises RuntimeError for a network that torch cannot write."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[given],
            output_names=[answer],
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={given: {0: "rows"}, answer: {0: "rows"}},
        )
