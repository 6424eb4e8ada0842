"""Configurations as a server gives them, for plans without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from conch_tools.xray.plan import Config, Plan, plan_of

Wires = Mapping[str, str]
Ensemble = Callable[..., dict[str, Any]]


def tensors(names: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "data_type": f"TYPE_{kind}", "dims": [-1]} for name, kind in names.items()]


def a_model(inputs: Mapping[str, str], outputs: Mapping[str, str], **more: Any) -> dict[str, Any]:
    return {"backend": "python", "input": tensors(inputs), "output": tensors(outputs), **more}


def an_ensemble(
    inputs: Mapping[str, str], outputs: Mapping[str, str], *steps: tuple[str, Wires, Wires]
) -> dict[str, Any]:
    told = [
        {"model_name": name, "model_version": -1, "input_map": dict(taken), "output_map": dict(given)}
        for name, taken, given in steps
    ]
    return {
        "platform": "ensemble",
        "input": tensors(inputs),
        "output": tensors(outputs),
        "ensemble_scheduling": {"step": told},
    }


REPOSITORY: dict[str, Config] = {
    "rows": a_model({"text": "STRING"}, {"rows": "FP32"}, max_batch_size=8, dynamic_batching={}),
    "left": a_model({"rows": "FP32"}, {"scores": "FP32"}, max_batch_size=8),
    "right": a_model({"rows": "FP32"}, {"scores": "FP32"}),
    "join": a_model({"a": "FP32", "b": "FP32"}, {"label": "STRING", "score": "FP32"}),
    "vote": an_ensemble(
        {"question": "STRING"},
        {"label": "STRING", "score": "FP32"},
        # In an order in which they cannot run.
        ("join", {"a": "l", "b": "r"}, {"label": "label", "score": "score"}),
        ("left", {"rows": "table"}, {"scores": "l"}),
        ("right", {"rows": "table"}, {"scores": "r"}),
        ("rows", {"text": "question"}, {"rows": "table"}),
    ),
    "outer": an_ensemble(
        {"text": "STRING"},
        {"label": "STRING", "again": "STRING"},
        ("vote", {"question": "text"}, {"label": "first", "score": "sure"}),
        ("vote", {"question": "first"}, {"label": "label"}),
        ("vote", {"question": "label"}, {"label": "again"}),
    ),
    "stuck": an_ensemble({"text": "STRING"}, {"rows": "FP32"}, ("rows", {"text": "nowhere"}, {"rows": "rows"})),
    "circle": an_ensemble({"text": "STRING"}, {"x": "STRING"}, ("circle", {"text": "text"}, {"x": "x"})),
}


@pytest.fixture
def plan() -> Callable[[str], Plan]:
    """The plan of a model of REPOSITORY."""
    return lambda name: plan_of(name, "", lambda model, version: REPOSITORY[model])
