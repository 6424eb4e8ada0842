"""A result is shown with what is needed to believe it, and written so that it can be read again."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from conch_tools.machine import this_machine
from conch_tools.tune.figures import Measurement
from conch_tools.tune.outcome import Circumstances, Outcome, candidate_from_json, candidate_json
from conch_tools.tune.report import AFTER, BEFORE, print_outcome
from conch_tools.tune.search import Findings, Objective
from conch_tools.tune.space import Candidate

MODEL = "pipe_model"
MakeTurn = Callable[..., Measurement]


@pytest.fixture
def outcome(start: Candidate, turn: MakeTurn) -> Outcome:
    """Three final rounds in which two instances did a third more."""
    better = start.changed(MODEL, {"instances": 2, "preferred": (8,)})
    final = {start: [turn(300), turn(290), turn(310)], better: [turn(400), turn(390), turn(410, p99_ms=60)]}
    told = Circumstances("pipe", this_machine(), "2026-01-01", ["conch"], "3 texts", "conch", 16, Objective())
    curves = {BEFORE: [turn(300).traffic], AFTER: [turn(400).traffic]}
    return Outcome(told, start, better, Findings(turns=12, complete=True, final=final), curves, 88.0)


def shown(outcome: Outcome) -> str:
    screen = io.StringIO()
    print_outcome(outcome, Console(file=screen, width=120))
    return screen.getvalue()


def test_before_and_after_are_medians_of_the_final_rounds(outcome: Outcome) -> None:
    assert outcome.gain == pytest.approx(4 / 3)
    assert "300.0 → 400.0 requests/s (+33.3%), p99 90 → 90 ms" in shown(outcome)
    assert "12 turns in 88 s" in shown(outcome)


def test_it_is_said_when_nothing_was_better(outcome: Outcome) -> None:
    same = dataclasses.replace(outcome, after=outcome.before, curves={BEFORE: outcome.curves[BEFORE]})
    assert not same.changed
    assert "nothing beats the settings that there are" in shown(same)


def test_it_is_said_when_the_limit_could_not_be_kept(outcome: Outcome) -> None:
    told = dataclasses.replace(outcome.circumstances, objective=Objective(50.0))
    assert "no settings kept p99 within 50 ms" in shown(dataclasses.replace(outcome, circumstances=told))


def test_a_busy_machine_is_told(outcome: Outcome) -> None:
    assert "noisy" not in shown(outcome)
    busy = {
        each: [dataclasses.replace(turn, others_cores=0.5) for turn in turns]
        for each, turns in outcome.findings.final.items()
    }
    findings = dataclasses.replace(outcome.findings, final=busy)
    assert "Other processes took 0.50 cores. That is noisy" in shown(dataclasses.replace(outcome, findings=findings))


def test_what_was_rejected_is_told(outcome: Outcome) -> None:
    findings = dataclasses.replace(outcome.findings, rejected={outcome.before: "out of memory"})
    assert "out of memory" in shown(dataclasses.replace(outcome, findings=findings))


def test_everything_is_written_as_plain_values(outcome: Outcome) -> None:
    written = json.loads(json.dumps(outcome.as_json()))
    assert written["after"]["requests_per_s"] == 400
    assert candidate_from_json(written["after"]["settings"]) == outcome.after
    assert len(written["finalists"]) == 2


def test_a_candidate_is_read_as_it_was_written(outcome: Outcome) -> None:
    assert candidate_from_json(json.loads(json.dumps(candidate_json(outcome.after)))) == outcome.after
