"""Figures of a turn are what Triton's counters grew by."""

from __future__ import annotations

from typing import Any

import pytest

from conch_tools.tune.figures import step_figures


def statistics(requests: int, rows: int, executions: int, queue_ms: float, computed_ms: float) -> dict[str, Any]:
    phases = {"compute_input": 0.1, "compute_infer": 0.8, "compute_output": 0.1}
    return {
        "name": "m",
        "inference_count": rows,
        "execution_count": executions,
        "inference_stats": {"success": {"count": requests}, "queue": {"ns": queue_ms * 1e6}},
        "batch_stats": [
            {"batch_size": 1, **{phase: {"count": 1, "ns": part * computed_ms * 1e6} for phase, part in phases.items()}}
        ],
    }


def test_means_are_formed_over_the_turn_alone() -> None:
    figures = step_figures(statistics(10, 10, 10, 50, 100), statistics(110, 210, 60, 1050, 1100), 2.0, 1)
    assert figures.average_batch == pytest.approx(4.0)
    assert figures.queue_ms == pytest.approx(10.0)
    assert figures.compute_ms == pytest.approx(20.0)
    assert figures.row_ms == pytest.approx(5.0)
    assert figures.busy == pytest.approx(0.5)


def test_instances_share_the_time() -> None:
    figures = step_figures(statistics(0, 0, 0, 0, 0), statistics(100, 100, 100, 0, 2000), 2.0, 2)
    assert figures.busy == pytest.approx(0.5)


def test_a_step_that_did_nothing_has_zeros() -> None:
    still = {"name": "m", "inference_count": 0, "execution_count": 0}
    figures = step_figures(still, still, 2.0, 1)
    assert (figures.average_batch, figures.queue_ms, figures.compute_ms, figures.row_ms, figures.busy) == (
        0,
        0,
        0,
        0,
        0,
    )
