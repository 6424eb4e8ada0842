from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from conch_client import Classification, Duration, InferResult, ModelStatistics

NOTHING = Duration(count=0, ns=0)
IDLE = ModelStatistics("m", "1", 0, 0, *[NOTHING] * 8)


def test_a_result_is_a_mapping_of_names_to_arrays() -> None:
    result = InferResult({"y": np.ones(2)}, model="m", version="1", request_id="r")
    assert list(result) == ["y"] and len(result) == 1 and "x" not in result
    assert result["y"].tolist() == [1, 1]
    assert result.get("x") is None


def test_a_classification_cannot_be_changed_and_can_be_counted() -> None:
    answer = Classification("good", 0.9, {"good": 0.9, "bad": 0.1})
    with pytest.raises(FrozenInstanceError):
        answer.label = "bad"  # type: ignore[misc]
    assert len({answer, replace(answer)}) == 1


def test_the_average_batch_is_items_an_execution() -> None:
    assert replace(IDLE, inference_count=12, execution_count=4).average_batch == 3.0


def test_the_average_batch_of_an_idle_model_is_zero() -> None:
    assert IDLE.average_batch == 0.0
