"""Ratios are formed within rounds, and what is shown and written follows from them."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from conch_tools.bench.comparison import CONCH, LIMIT, Comparison, Measured
from conch_tools.bench.contenders import Turn
from conch_tools.bench.report import print_comparison
from conch_tools.machine import this_machine

WIDTH = 80


def measured(
    name: str, rates: list[float], batch: float | None = None, concurrency: int = 16, others: float = 0.0
) -> Measured:
    turns = [Turn(rate, 1e-7, 90.0, 180.0, 0.02, batch) for rate in rates]
    return Measured(name, f"how {name} runs", concurrency, turns, [others] * len(rates))


@pytest.fixture
def comparison() -> Comparison:
    """Three rounds on a machine that was half as fast in the second."""
    limit = dataclasses.replace(
        measured(LIMIT, [200.0, 100.0, 200.0]), turns=[Turn(rate, 0.0) for rate in (200.0, 100.0, 200.0)]
    )
    return Comparison(
        machine=this_machine(),
        versions={"torch": "2.0", "absent": None},
        date="2026-01-01T00:00:00+00:00",
        command=["conch", "bench", "peers"],
        seconds=10.0,
        texts="8 texts",
        contenders=[
            limit,
            measured(CONCH, [160.0, 80.0, 150.0], batch=4.0),
            measured("FastAPI", [80.0, 40.0, 75.0]),
            measured("LitServe", [100.0, 50.0, 100.0]),
        ],
        alone=[measured(CONCH, [170.0, 90.0, 170.0], batch=2.0, concurrency=32)],
    )


def shown(comparison: Comparison) -> str:
    screen = io.StringIO()
    print_comparison(comparison, Console(file=screen, width=WIDTH))
    return screen.getvalue()


def test_a_slow_minute_of_the_machine_cancels_out(comparison: Comparison) -> None:
    assert comparison.ratios("FastAPI") == [2.0, 2.0, 2.0]
    assert comparison.ratios(LIMIT) == [0.8, 0.8, 0.75]


def test_verdicts_are_medians_beside_their_targets(comparison: Comparison) -> None:
    assert comparison.verdicts() == {
        f"Conch to {LIMIT}": (0.8, 0.70),
        "Conch to FastAPI": (2.0, 1.7),
        "Conch to LitServe": (1.6, 1.7),
        "average batch at concurrency 16": (4.0, 2.5),
        "average batch at concurrency 32": (2.0, 2.5),
    }


def test_a_figure_that_a_contender_lacks_has_no_median(comparison: Comparison) -> None:
    assert comparison.contenders[0].median("p50_ms") is None
    assert comparison.conch.median("p95_ms") == 180.0


def test_the_json_holds_every_turn_and_says_which_targets_were_reached(comparison: Comparison) -> None:
    written = json.loads(json.dumps(comparison.as_json()))
    assert [turn["requests_per_s"] for turn in written["contenders"][1]["rounds"]] == [160.0, 80.0, 150.0]
    assert {what: verdict["reached"] for what, verdict in written["verdicts"].items()} == {
        f"Conch to {LIMIT}": True,
        "Conch to FastAPI": True,
        "Conch to LitServe": False,
        "average batch at concurrency 16": True,
        "average batch at concurrency 32": False,
    }
    assert written["machine"]["cores"] == this_machine().cores
    assert written["versions"] == {"torch": "2.0", "absent": None}


def test_the_tables_name_contenders_medians_and_missed_targets(comparison: Comparison) -> None:
    text = shown(comparison)
    for expected in (LIMIT, "FastAPI", "150.0", "80-160", "2.00 x", "MISSED: Conch to LitServe is 1.60"):
        assert expected in text
    assert "…" not in text


def test_on_a_noisy_machine_no_verdict_is_given(comparison: Comparison) -> None:
    busy = [dataclasses.replace(each, others_cores=[0.9, 0.9, 0.9]) for each in comparison.contenders]
    noisy = dataclasses.replace(comparison, contenders=busy)
    assert (comparison.is_noisy, noisy.is_noisy) == (False, True)
    assert "other processes 0.90. That is noisy" in shown(noisy).replace("\n", " ")
    assert "unsure: Conch to FastAPI" in shown(noisy)
    assert "reached" not in shown(noisy) and "MISSED" not in shown(noisy)
