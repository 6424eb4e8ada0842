"""Forecasts as the client gives them: one for a series, a list in order for several, one request a length."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from conch_client import Forecast, InvalidInput, ModelMetadata, TensorMetadata
from conch_client import _flows as flows
from conch_client._call import Call, Deadline
from conch_client._encode import WireTensor
from conch_client._protocol import WireAnswer
from conch_client._spec import Catalog

CALL = Call(endpoint="host:8001", deadline=Deadline(math.inf), model="forecast", request_id="r")
METADATA = ModelMetadata(
    "forecast",
    ("1",),
    "ensemble",
    (TensorMetadata("history", "FP32", (-1, -1)), TensorMetadata("horizon", "INT32", (-1, 1))),
    (),
)


def wire(name: str, rows: list[list[float]]) -> WireTensor:
    return WireTensor(name, "FP32", (len(rows), len(rows[0])), np.array(rows, dtype=np.float32).tobytes())


def answer(*values: float) -> WireAnswer:
    """One row of one step for each value, with an interval of 1 on each side."""
    rows = {"forecast": 0.0, "lower": -1.0, "upper": 1.0}
    return WireAnswer("forecast", "1", "r", [wire(name, [[v + by] for v in values]) for name, by in rows.items()])


def forecast(history: object, *answers: WireAnswer, horizon: Any = 1) -> Any:
    """What the flow makes of these answers."""
    flow = flows.forecast(Catalog(), CALL, history, horizon)
    try:
        for reply in (None, METADATA, {"max_batch_size": 64}, *answers):
            flow.send(reply)
    except StopIteration as end:
        return end.value
    raise AssertionError("the flow asks for more")


@pytest.mark.parametrize("history", [[1, 2, 3], (1.0, 2.0), np.array([1.0, 2.0]), [7.0]])
def test_a_series_has_one_forecast(history: object) -> None:
    found = forecast(history, answer(5))
    assert isinstance(found, Forecast)
    assert (found.values.tolist(), found.lower.tolist(), found.upper.tolist()) == ([5], [4], [6])


def test_several_series_have_a_list_in_their_order_with_one_request_for_each_length() -> None:
    histories = [[1, 2], [1, 2, 3], np.array([3.0, 4.0])]
    found = forecast(histories, answer(5, 6), answer(7))
    assert [each.values.tolist() for each in found] == [[5], [7], [6]]


def test_a_list_of_one_series_stays_a_list() -> None:
    assert [each.values.tolist() for each in forecast([[1, 2]], answer(5))] == [[5]]


@pytest.mark.parametrize("history", [3.0, np.ones((2, 2)), [[[1, 2]]]])
def test_what_is_no_series_is_refused(history: object) -> None:
    with pytest.raises(InvalidInput, match="a history is a list or an array"):
        forecast(history)


@pytest.mark.parametrize("horizon", [2.5, "soon", [1, 2], None])
def test_a_horizon_that_is_no_whole_number_is_refused_with_its_name(horizon: object) -> None:
    with pytest.raises(InvalidInput, match="horizon"):
        forecast([1, 2], horizon=horizon)


def test_a_value_that_is_no_number_is_refused_with_its_name() -> None:
    with pytest.raises(InvalidInput, match="history"):
        forecast([1, "two"])
