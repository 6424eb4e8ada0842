"""What Triton does to a request before a step sees it, and to a response on its way out.

After core's infer_request.cc (Normalize), infer_response.cc (AddOutput) and scheduler_utils.cc, in its words. Of an
answer core compares nothing but the names with config.pbtxt: a wrong data type or shape goes through, and whoever asked
stumbles over it. `broken_promises` finds these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from conch_tools.data_types import STRING, fits, protocol_name
from conch_tools.errors import StepFailed
from conch_tools.step_kit.tensors import NUMPY_TYPES, Array, type_of

Config = dict[str, Any]
Arrays = Mapping[str, Array]

_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


def wanted_outputs(config: Config, requested: Iterable[str]) -> frozenset[str]:
    """The outputs that a request gets: all, unless it names some. Raises StepFailed for one that there is not."""
    outputs = [output["name"] for output in config["output"]]
    for name in requested:
        if name not in outputs:
            raise _refused(f"unexpected inference output '{name}' for model '{config['name']}'")
    return frozenset(requested) or frozenset(outputs)


def admitted(config: Config, arrays: Arrays, request_id: str) -> dict[str, Array]:
    """The inputs as the step gets them, reshaped where config.pbtxt says so. Raises StepFailed where core refuses."""
    model = config["name"]
    mark = f"[request id: {request_id or '<id_unknown>'}] "
    _require_count(config, arrays, mark)
    declared = {tensor["name"]: tensor for tensor in config["input"]}
    for name in arrays:
        if name not in declared:
            raise _refused(f"unexpected inference input '{name}' for model '{model}'")
    batch = _batch_size(config, arrays, mark)
    return {name: _admit(config, declared[name], array, batch, mark) for name, array in arrays.items()}


def _require_count(config: Config, arrays: Arrays, mark: str) -> None:
    inputs = config["input"]
    required = [tensor["name"] for tensor in inputs if not tensor["optional"]]
    if len(required) <= len(arrays) <= len(inputs):
        return
    number = (
        str(len(inputs))
        if len(required) == len(inputs)
        else f"number of inputs between {len(required)} and {len(inputs)}"
    )
    unit = " inputs" if len(required) == len(inputs) else ""
    missing = ",".join(f"'{name}'" for name in required if name not in arrays)
    got = ",".join(f"'{name}'" for name in arrays)
    # Core ends both lists by cutting off their last character, which of an empty list is its bracket.
    raise _refused(
        f"{mark}expected {number}{unit} but got {len(arrays)} inputs for model '{config['name']}'. Got input(s) "
        f"[{got}], but missing required input(s) {f'[{missing}' if missing else ''}]. "
        "Please provide all required input(s)."
    )


def _batch_size(config: Config, arrays: Arrays, mark: str) -> int:
    most, model = config["max_batch_size"], config["name"]
    if not most:
        return 0
    batch = 0
    for name, array in arrays.items():
        if not array.ndim:
            raise _refused(f"{mark}input '{name}' has no shape but model requires batch dimension for '{model}'")
        if batch and array.shape[0] != batch:
            raise _refused(f"{mark}input '{name}' batch size does not match other inputs for '{model}'")
        batch = batch or array.shape[0]
    if batch > most:
        raise _refused(f"{mark}inference request batch-size must be <= {most} for '{model}'")
    return batch


def _admit(config: Config, tensor: Config, array: Array, batch: int, mark: str) -> Array:
    name, model = tensor["name"], config["name"]
    if type_of(array) != tensor["data_type"]:
        raise _refused(
            f"{mark}inference input '{name}' data-type is '{protocol_name(type_of(array))}', "
            f"but model '{model}' expects '{protocol_name(tensor['data_type'])}'"
        )
    most = config["max_batch_size"]
    shape = array.shape[1:] if most else array.shape
    if not fits(shape, tensor["dims"]):
        raise _refused(
            f"{mark}unexpected shape for input '{name}' for model '{model}'. Expected "
            f"{_listed([-1, *tensor['dims']] if most else tensor['dims'])}, got {_listed(array.shape)}. "
            f"{_BATCH_NOTE if most else ''}"
        )
    if "reshape" in tensor:
        shape = _renamed(shape, tensor["dims"], tensor["reshape"]["shape"])
    # A batch of none loses its dimension in core, which then misses the data of one row.
    whole = (batch, *shape) if batch else shape
    count = int(np.prod(whole))
    if tensor["data_type"] == STRING and count != array.size:
        raise _refused(
            f"{mark}expected {count} string elements for inference input '{name}' for model '{model}', got {array.size}"
        )
    if count != array.size:
        raise _refused(
            f"{mark}input byte size mismatch for input '{name}' for model '{model}'. "
            f"Expected {count * array.itemsize}, got {array.nbytes}"
        )
    return array.reshape(whole)


def answered(config: Config, arrays: Arrays) -> dict[str, Array]:
    """The outputs as the caller gets them, with the dimensions before `reshape`."""
    outputs = {tensor["name"]: tensor for tensor in config["output"]}
    return {name: _restored(config, outputs[name], array) for name, array in arrays.items() if name in outputs}


def _restored(config: Config, tensor: Config, array: Array) -> Array:
    if "reshape" not in tensor:
        return array
    batched = bool(config["max_batch_size"]) and array.ndim > 0
    shape = array.shape[1:] if batched else array.shape
    if not fits(shape, tensor["reshape"]["shape"]):
        return array
    return array.reshape((*array.shape[: int(batched)], *_renamed(shape, tensor["reshape"]["shape"], tensor["dims"])))


def broken_promises(config: Config, arrays: Arrays, wanted: frozenset[str], rows: int) -> list[str]:
    """What is wrong with the outputs of a request of `rows` rows though Triton lets it through, a sentence each."""
    faults = [
        f"output `{name}` is missing: Triton answers without it, and asks the next step of an ensemble without it"
        for name in sorted(wanted - arrays.keys())
    ]
    for tensor in config["output"]:
        name = tensor["name"]
        if name not in arrays:
            continue
        array = arrays[name]
        if type_of(array) != tensor["data_type"]:
            faults.append(
                f"output `{name}` is {type_of(array)}, config.pbtxt says {tensor['data_type']}: "
                "Triton passes it on as it is, and the caller or the next step stumbles over it"
            )
        dims = ([rows] if config["max_batch_size"] else []) + list(tensor["dims"])
        if not fits(array.shape, dims):
            faults.append(
                f"output `{name}` has the shape {_listed(array.shape)}, config.pbtxt and the rows sent say "
                f"{_listed(dims)}: Triton passes it on as it is, and the caller or the next step stumbles over it"
            )
    return faults


def executions(config: Config, inputs: Sequence[Arrays]) -> list[list[int]]:
    """Which requests of a queue the batcher puts into one execution, by their indices: in order, up to the maximum
    batch, and only of equal shapes where an input is neither of a fixed size nor `allow_ragged_batch`.
    """
    if "dynamic_batching" not in config or not config["max_batch_size"]:
        return [[index] for index in range(len(inputs))]
    most = config["max_batch_size"]
    alike = {each["name"] for each in config["input"] if -1 in each["dims"] and not each["allow_ragged_batch"]}
    optional = any(tensor["optional"] for tensor in config["input"])
    batches: list[list[int]] = []
    open_for: Any = None
    rows = 0
    for index, arrays in enumerate(inputs):
        shapes = {name: array.shape[1:] for name, array in arrays.items() if name in alike}
        kind = (shapes, frozenset(arrays) if optional else None)
        own_rows = rows_of(config, arrays)
        if batches and kind == open_for and rows + own_rows <= most:
            batches[-1].append(index)
            rows += own_rows
        else:
            batches.append([index])
            open_for, rows = kind, own_rows
    return batches


def rows_of(config: Config, arrays: Arrays) -> int:
    """The rows of an admitted request; 1 for a model that takes no batches."""
    return next((array.shape[0] for array in arrays.values()), 1) if config["max_batch_size"] else 1


def as_arrays(config: Config, values: Mapping[str, Any]) -> dict[str, Array]:
    """What a test wrote, as the arrays that a client would send: arrays keep their type, text becomes bytes.

    Raises ValueError, with the input's name, for what is no array of the type that config.pbtxt says.
    """
    types = {tensor["name"]: tensor["data_type"] for tensor in config["input"]}
    return {name: _as_array(name, value, types.get(name)) for name, value in values.items()}


def _as_array(name: str, value: Any, data_type: str | None) -> Array:
    if isinstance(value, np.ndarray) and value.dtype.kind != "U":
        return value
    if data_type is not None and data_type not in NUMPY_TYPES:
        raise ValueError(f"input `{name}`: numpy has no array of data type {data_type}")
    try:
        array = np.asarray(value, dtype=None if data_type is None else NUMPY_TYPES[data_type])
    except ValueError as problem:
        raise ValueError(f"input `{name}` is no array of {data_type}: {problem}") from problem
    if array.dtype.kind not in "OU":
        return array
    flat = np.empty(array.size, dtype=np.object_)
    flat[:] = [each.encode() if isinstance(each, str) else each for each in array.ravel().tolist()]
    return flat.reshape(array.shape)


def _renamed(shape: Sequence[int], before: Sequence[int], after: Sequence[int]) -> tuple[int, ...]:
    variable = iter([size for size, dim in zip(shape, before, strict=True) if dim == -1])
    return tuple(next(variable) if dim == -1 else dim for dim in after)


def _listed(dims: Sequence[int]) -> str:
    return f"[{','.join(map(str, dims))}]"


def _refused(message: str) -> StepFailed:
    return StepFailed("INVALID_ARG", message)
