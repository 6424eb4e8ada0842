"""What runs apart for a SavedModel of TensorFlow's: see what it answers, write its graph by tf2onnx. See apart.py.

A SavedModel is a program of TensorFlow's operators, of which some read and write files. Images come as they come to all
other networks, channels first; TensorFlow has them last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conch_tools.build.apart_inside import GRAPH, Refusal, answer_rows, are_probabilities, serve
from conch_tools.errors import first_line

SERVED = "serving_default"
TRIED_ROWS = 2
CHANNELS_LAST = (0, 2, 3, 1)


def answered(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The shape of a row, the number of classes and whether these have probabilities; scores and graph lie in the
    folder then, if they are asked for."""
    import numpy as np

    tensorflow = _tensorflow()
    file = request["saved_model"]
    signature = _signature(tensorflow, file)
    given = _given(tensorflow, signature, file)
    shape = request["shape"] or _columns(given, file)
    _require_shape(given, shape, request["taking"])
    network = _network(tensorflow, signature, given.name, shape, request["graph"])
    example = np.random.default_rng(0).normal(size=(TRIED_ROWS, *shape)).astype(np.float32)
    scores = _scores(network, example, request["taking"])
    answer_rows(folder, lambda rows: _scores(network, rows, request["taking"]))
    if request["graph"]:
        _write_graph(network, folder / GRAPH)
    return {"shape": shape, "classes": scores.shape[1], "are_probabilities": are_probabilities(scores)}


def _tensorflow() -> Any:
    # It tells of every processor that it does not find.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    try:
        import tensorflow
        import tf2onnx  # noqa: F401  (missed now, and not when half of the work is done)
    except ModuleNotFoundError as problem:
        raise Refusal(
            f"a SavedModel needs {problem.name}, which is not installed: pip install conch[tensorflow]"
        ) from problem
    return tensorflow


def _signature(tensorflow: Any, file: str) -> Any:
    """What TensorFlow Serving would serve. Raises Refusal."""
    try:
        loaded = tensorflow.saved_model.load(file)
    except Exception as problem:
        raise Refusal(
            f"{file} is no SavedModel that TensorFlow {tensorflow.__version__} can load: {first_line(problem)}"
        ) from problem
    signatures = dict(loaded.signatures)
    if SERVED not in signatures:
        there = ", ".join(signatures) or "none"
        raise Refusal(f"{file} has no signature {SERVED} but {there}: export it by model.export, or with signatures=")
    # The signature holds its model weakly.
    signatures[SERVED].conch_model = loaded
    return signatures[SERVED]


def _given(tensorflow: Any, signature: Any, file: str) -> Any:
    """The one tensor that it takes. Raises Refusal."""
    inputs = list(signature.structured_input_signature[1].values())
    if len(inputs) != 1 or inputs[0].dtype != tensorflow.float32 or inputs[0].shape.rank is None:
        said = ", ".join(f"{each.name} {each.dtype.name} {each.shape}" for each in inputs)
        raise Refusal(f"{file}: its signature must take one float32 tensor of rows, but takes {said}")
    if len(signature.structured_outputs) != 1:
        said = ", ".join(signature.structured_outputs)
        raise Refusal(f"{file}: its signature must answer one tensor of scores, but answers {said}")
    return inputs[0]


def _columns(given: Any, file: str) -> list[int]:
    """Of a row of a table. Raises Refusal."""
    if given.shape.rank != 2 or given.shape[1] is None:
        raise Refusal(f"{file}: its signature takes {given.shape}, not [n, columns] with a number of columns")
    return [given.shape[1]]


def _require_shape(given: Any, shape: list[int], taking: str) -> None:
    last = [*shape[1:], shape[0]] if len(shape) > 1 else shape
    if not given.shape[1:].is_compatible_with(last):
        raise Refusal(f"its network does not take {taking.format(shape)}: it takes {given.shape}")
    if given.shape[0] not in (None, TRIED_ROWS):
        raise Refusal(f"its network takes batches of {given.shape[0]} only: export it with a batch that is open")


def _network(tensorflow: Any, signature: Any, name: str, shape: list[int], names: Mapping[str, str] | None) -> Any:
    """The signature as a function of rows, its tensors named as the graph's."""
    called = names or {"given": "rows", "answer": "scores"}

    def network(rows: Any) -> Any:
        turned = tensorflow.transpose(rows, CHANNELS_LAST) if len(shape) > 1 else rows
        (scores,) = signature(**{name: turned}).values()
        return {called["answer"]: scores}

    spec = tensorflow.TensorSpec([None, *shape], tensorflow.float32, name=called["given"])
    return tensorflow.function(network, input_signature=[spec])


def _scores(network: Any, rows: Any, taking: str) -> Any:
    """What the network answers, an array [n, classes]. Raises Refusal."""
    try:
        (scores,) = network(rows).values()
    except Exception as problem:
        raise Refusal(f"its network does not take {taking.format(list(rows.shape[1:]))}: {first_line(problem)}") from (
            problem
        )
    if scores.shape.rank != 2 or scores.shape[0] != len(rows):
        raise Refusal(f"its network answers {len(rows)} rows with {list(scores.shape)}, not with [rows, classes]")
    return scores.numpy().astype("float32")


def _write_graph(network: Any, path: Path) -> None:
    import tf2onnx

    from conch_tools.build.tabular_graph import OPSETS

    try:
        tf2onnx.convert.from_function(
            network, input_signature=network.input_signature, opset=OPSETS[""], output_path=str(path)
        )
    except Exception as problem:
        raise Refusal(f"tf2onnx cannot write its network as an ONNX graph: {first_line(problem)}") from problem


if __name__ == "__main__":
    serve(answered)
