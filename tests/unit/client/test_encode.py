from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor

from conch_client import InvalidInput
from conch_client._call import Call, Deadline
from conch_client._encode import Encoded, encode, raw_bytes
from conch_client._spec import ModelSpec, TensorSpec

CALL = Call(endpoint="host:8001", deadline=Deadline(math.inf), model="m", request_id="r")

TEXT = TensorSpec("text", "BYTES", (1,))
PAIR = TensorSpec("pair", "FP32", (2,))
IDS = TensorSpec("ids", "INT32", (-1,))
GRID = TensorSpec("grid", "UINT8", (-1, 3))
LIMIT = TensorSpec("limit", "FP32", (1,))
EXTRA = TensorSpec("extra", "INT64", (1,), optional=True)
SCALAR = TensorSpec("scalar", "FP32", ())


def model(*inputs: TensorSpec, max_batch_size: int = 4) -> ModelSpec:
    return ModelSpec("m", "", "1", max_batch_size, {tensor.name: tensor for tensor in inputs}, {})


def shapes(encoded: Encoded) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in encoded.tensors}


@pytest.mark.parametrize(
    ("tensor", "value", "shape", "one_item"),
    [
        (TEXT, "a", (1, 1), True),
        (TEXT, ["a"], (1, 1), False),
        (TEXT, ["a", "b"], (2, 1), False),
        (TEXT, [["a"], ["b"]], (2, 1), False),
        (LIMIT, 0.5, (1, 1), True),
        (LIMIT, [0.5, 0.6], (2, 1), False),
        (PAIR, [1, 2], (1, 2), True),
        (PAIR, [[1, 2]], (1, 2), False),
        (PAIR, [[1, 2], [3, 4]], (2, 2), False),
        (IDS, 7, (1, 1), True),
        (IDS, [7, 8, 9], (1, 3), True),
        (IDS, [[7, 8, 9]], (1, 3), False),
        (GRID, np.zeros((5, 3)), (1, 5, 3), True),
        (GRID, np.zeros((2, 5, 3)), (2, 5, 3), False),
        (SCALAR, 1.5, (1,), True),
        (SCALAR, [1.5, 2.5], (2,), False),
    ],
)
def test_the_rank_tells_an_item_from_a_batch(
    tensor: TensorSpec, value: object, shape: tuple[int, ...], one_item: bool
) -> None:
    encoded = encode(model(tensor), {tensor.name: value}, CALL)
    assert shapes(encoded) == {tensor.name: shape}
    assert encoded.one_item == one_item


@pytest.mark.parametrize(
    ("tensor", "value", "shape"),
    [
        (TEXT, "a", (1,)),
        (TEXT, ["a"], (1,)),
        (PAIR, [1, 2], (2,)),
        (GRID, [[1, 2, 3]], (1, 3)),
        (SCALAR, 1, ()),
    ],
)
def test_a_model_without_batches_gets_no_batch_dimension(
    tensor: TensorSpec, value: object, shape: tuple[int, ...]
) -> None:
    encoded = encode(model(tensor, max_batch_size=0), {tensor.name: value}, CALL)
    assert shapes(encoded) == {tensor.name: shape}
    assert not encoded.one_item


@pytest.mark.parametrize("limit", [0.5, [0.5]])
def test_what_could_be_either_follows_the_other_inputs(limit: object) -> None:
    spec = model(GRID, LIMIT)
    item = encode(spec, {"grid": np.zeros((5, 3)), "limit": limit}, CALL)
    assert shapes(item) == {"grid": (1, 5, 3), "limit": (1, 1)} and item.one_item
    batch = encode(spec, {"grid": np.zeros((1, 5, 3)), "limit": [0.5]}, CALL)
    assert shapes(batch) == {"grid": (1, 5, 3), "limit": (1, 1)} and not batch.one_item


def test_an_optional_input_may_be_left_out() -> None:
    assert shapes(encode(model(TEXT, EXTRA), {"text": "a"}, CALL)) == {"text": (1, 1)}
    assert set(shapes(encode(model(TEXT, EXTRA), {"text": "a", "extra": 1}, CALL))) == {"text", "extra"}


def test_a_model_without_inputs_takes_none() -> None:
    assert encode(model(), {}, CALL).tensors == []


@pytest.mark.parametrize(
    ("spec", "values", "reason"),
    [
        (
            model(TEXT),
            {"txt": "a"},
            r"no input 'txt', did you mean 'text'\?; it takes text BYTES \[batch, 1\]",
        ),
        (model(TEXT), {"text": "a", "zz": 1}, "no input 'zz'; it takes text"),
        (model(TEXT, PAIR), {"text": "a"}, r"'pair' is missing; it takes text .*, pair FP32 \[batch, 2\]"),
        (model(PAIR), {"pair": [1, 2, 3]}, r"'pair' takes FP32 \[batch, 2\]; .*, got shape \[3\]"),
        (model(GRID, max_batch_size=0), {"grid": [1]}, r"takes UINT8 \[any, 3\], got shape \[1\]"),
        (model(PAIR), {"pair": [1.0, "b"]}, r"'pair' \(FP32 \[batch, 2\]\): it takes numbers, got text"),
        (model(PAIR), {"pair": np.zeros((9, 2))}, "a batch of 9 is over the model's maximum of 4"),
        (model(PAIR), {"pair": np.zeros((0, 2))}, "'pair' has a batch of 0"),
        (
            model(TEXT, PAIR),
            {"text": ["a"] * 3, "pair": np.ones((2, 2))},
            "'text' has a batch of 3, but 'pair' one of 2",
        ),
        (
            model(TEXT, PAIR),
            {"text": "a", "pair": np.ones((2, 2))},
            "'text' is one item, but 'pair' is a batch",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_precisely(
    spec: ModelSpec, values: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        encode(spec, values, CALL)
    assert (caught.value.model, caught.value.endpoint, caught.value.request_id) == ("m", "host:8001", "r")


@given(st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20)), min_size=1, max_size=4))
def test_bytes_are_written_as_tritonclient_writes_them(items: list[Any]) -> None:
    encoded = encode(model(TEXT), {"text": items}, CALL)
    theirs = serialize_byte_tensor(np.array(items, dtype=object)).item()
    assert encoded.tensors[0].data == theirs


def test_arrays_are_written_row_by_row_however_they_lie_in_memory() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert raw_bytes(array, "INT32") == np.ascontiguousarray(array).tobytes()
    assert raw_bytes(array.astype(np.float32), "BF16")[2:4] == b"\x40\x40"  # 3.0 comes second
