"""Other forms of a graph: smaller or faster, and so not quite equal to it.

A variant is a file beside model.onnx in the same version folder. Triton serves it where a configuration of the model
says `default_model_filename`; requests and answers keep their names, types and shapes. onnxruntime's own tools make
each. What is gained and lost differs from model to model: `conch build --compare` measures it.

Weights become INT8 with a scale for each output channel, which costs nothing at run time and saves most of what a scale
for a whole matrix loses: of the similarities of `embed`, Spearman 0.990 against 0.976.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from conch_steps.onnx_backend.session import ort
from conch_tools.pipelines import Variant

Feeds = Sequence[Mapping[str, npt.NDArray[Any]]]
MATRIX_PRODUCTS = ["MatMul", "Gemm"]
"""What dynamic INT8 is good for: ONNX Runtime's integer convolutions are slower than its FP32 ones."""


@dataclass(frozen=True)
class Recipe:
    """How a variant is made: in words, for the manifest, and in fact."""

    words: str
    make: Callable[[Path, Path, Feeds], None]
    """From a prepared graph (constants folded, shapes inferred) to a file, with inputs to calibrate by."""


def variant_file(variant: Variant) -> str:
    """The name of a variant's file in the version folder."""
    return f"model.{variant}.onnx"


def make_variant(variant: Variant, graph: Path, feeds: Feeds) -> Path:
    """Write a variant of a graph beside it; returns its file. Raises what onnxruntime's tools raise, and what it
    raises itself of a file that they made and it does not load, which does not stay."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target = graph.with_name(variant_file(variant))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        # Symbolic inference gives up on the ragged head; ONNX's own and the folding of constants do not need it.
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        RECIPES[variant].make(prepared, target, feeds)
    _restore_interface(graph, target)
    try:
        ort.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    except Exception:
        target.unlink()
        raise
    return target


def _copy(graph: Path, target: Path, feeds: Feeds) -> None:
    target.write_bytes(graph.read_bytes())


def _half(graph: Path, target: Path, feeds: Feeds) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(graph)), keep_io_types=True), str(target))


def _dynamic(graph: Path, target: Path, feeds: Feeds) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(graph), str(target), op_types_to_quantize=MATRIX_PRODUCTS, per_channel=True, weight_type=QuantType.QInt8
    )


def _calibrated(graph: Path, target: Path, feeds: Feeds) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._feeds: Iterator[Mapping[str, npt.NDArray[Any]]] = iter(feeds)

        def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
            return next(self._feeds, None)

    quantize_static(
        str(graph),
        str(target),
        Reader(),
        op_types_to_quantize=[*MATRIX_PRODUCTS, "Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # Products of two activations, as in attention, have no weights to save and much to lose.
        extra_options={"MatMulConstBOnly": True},
    )


RECIPES: Mapping[Variant, Recipe] = {
    "graph": Recipe("constants folded and nodes fused by onnxruntime beforehand", _copy),
    "fp16": Recipe("weights and arithmetic in FP16, inputs and outputs as they were", _half),
    "int8": Recipe("dynamic INT8: weights per channel, activations measured in each call", _dynamic),
    "int8-calibrated": Recipe("static INT8: weights per channel, activations by the build's corpus", _calibrated),
}


def _restore_interface(graph: Path, target: Path) -> None:
    """Give a variant the inputs and outputs of its graph, and no operator sets that it does not use.

    onnxruntime's tools drop inputs that nothing reads, which Triton counts, and write down every operator set that they
    know, some of which an older server does not.
    """
    given, model = onnx.load(str(graph), load_external_data=False), onnx.load(str(target))
    del model.graph.input[:]
    model.graph.input.extend(given.graph.input)
    del model.graph.output[:]
    model.graph.output.extend(given.graph.output)
    used = {node.domain for node in model.graph.node} | {""}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, str(target))


class _quiet:
    """The tools advise through the root logger on what has been done already."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self._before)
