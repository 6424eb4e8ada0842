"""Figures of many cases, held against a gate."""

from __future__ import annotations

from typing import Any

import pytest

from conch_tools.parity.figures import figures_of
from conch_tools.parity.metrics import Case, Flip, Shared
from conch_tools.pipelines import Likeness

TOLERANCE = 0.01


def gate(**allowed: Any) -> Likeness:
    return Likeness(max_abs_difference=TOLERANCE, **allowed)


def test_what_agrees_misses_nothing() -> None:
    figures = figures_of([Case({"score": 0.005}), Case({"score": 0.01})], TOLERANCE, ranked=True)
    assert (figures.cases, figures.differing, figures.flips, figures.worst_difference) == (2, 0, 0, 0.01)
    assert figures.missed(gate()) == []


def test_flips_are_counted_and_their_worst_gap_is_told() -> None:
    cases = [Case({}, flip=Flip("a", "b", 0.002)), Case({}, flip=Flip("a", "c", 0.3)), Case({}), Case({})]
    figures = figures_of(cases, TOLERANCE, ranked=True)
    assert (figures.differing, figures.flips, figures.flip_gap) == (2, 2, 0.3)
    assert figures.missed(gate()) == ["2 cases with another label, the gate allows 0.0%"]
    assert figures.missed(gate(max_flips=0.5)) == []


def test_span_f1_is_that_of_all_things_together() -> None:
    cases = [Case({}, shared=Shared(9, 9, 9)), Case({}, shared=Shared(0, 1, 1), things="`x` lacks 1")]
    figures = figures_of(cases, TOLERANCE, ranked=False)
    assert figures.span_f1 == pytest.approx(0.9)
    assert figures.differing == 1
    assert figures.missed(gate()) == ["span F1 is 0.9000, the gate is at least 1"]
    assert figures.missed(gate(min_span_f1=0.9)) == []


def test_the_smallest_cosine_counts() -> None:
    figures = figures_of([Case({}, cosine=0.99), Case({}, cosine=1.0)], TOLERANCE, ranked=False)
    assert figures.missed(gate(min_cosine=0.999)) == ["the smallest cosine is 0.990000, the gate is at least 0.999"]


def test_one_number_that_is_none_misses_every_gate() -> None:
    figures = figures_of([Case({"y": float("inf")}), Case({"y": 0.0})], TOLERANCE, ranked=False)
    assert figures.missed(gate()) == ["the worst difference is inf, the gate is 1e-02"]


def test_no_gate_allows_what_no_figure_measures() -> None:
    figures = figures_of([Case({}, unlike="`y` is missing")], TOLERANCE, ranked=True)
    assert figures.missed(gate(max_flips=1, min_span_f1=0)) == ["1 case without the same answer"]


def test_figures_that_do_not_apply_are_none() -> None:
    figures = figures_of([Case({"y": 0.0})], TOLERANCE, ranked=False)
    assert (figures.flips, figures.flip_gap, figures.span_f1, figures.cosine) == (None, None, None, None)
