"""What people and programs are told of a comparison."""

from __future__ import annotations

import io
import json

import numpy as np
from rich.console import Console

from conch_tools.build.reference import text_items
from conch_tools.parity.asking import Answer, measured
from conch_tools.parity.corpus import Corpus
from conch_tools.parity.metrics import Row
from conch_tools.parity.report import render, show
from conch_tools.parity.steps import Divergence
from conch_tools.parity.verdict import Verdict, shown_item
from conch_tools.pipelines import Likeness

TOLERANCE = 1e-4


def ranking(first: str, second: str, score: float) -> Row:
    labels = np.array([first, second], dtype=object)
    return {"label": labels, "score": np.array([score, 1 - score], dtype=np.float32)}


EXPECTED = [ranking("good", "bad", 0.75), ranking("good", "bad", 0.625), ranking("bad", "good", 0.875)]


def verdict(*rows: Row | None) -> Verdict:
    answers = [Answer(index, row, "refused" if row is None else None, [index]) for index, row in enumerate(rows)]
    outcome = measured("one by one", answers, EXPECTED, TOLERANCE)
    corpus = Corpus(text_items(["fine\nroom", "good", "bad"]))
    divergence = Divergence("reviews_labels", "`label` is bad, expected is good") if outcome.differences else None
    return Verdict("reviews", "PyTorch", Likeness(max_abs_difference=TOLERANCE), [outcome], corpus, divergence)


def printed(verdict: Verdict) -> list[str]:
    file = io.StringIO()
    show([verdict], Console(file=file, width=80))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_row_a_way_and_a_sentence_when_all_is_well() -> None:
    head, _, row, said = printed(verdict(*EXPECTED))
    assert head.split() == ["pipeline", "asked", "cases", "differ", "flips", "worst", "gate"]
    assert row.split() == ["reviews", "one", "by", "one", "3", "0", "0", "0.0e+00", "passes"]
    assert said == "reviews gives the answers of PyTorch (the gate is 1e-04)."


def test_what_differs_is_told_with_its_case_and_the_first_step() -> None:
    lines = printed(verdict(EXPECTED[0], ranking("bad", "good", 0.625), EXPECTED[2]))
    assert lines[2].split()[-5:] == ["3", "1", "1", "2.5e-01", "fails"]
    assert lines[3:] == [
        "reviews compared with PyTorch fails:",
        "  one by one: 1 case with another label, the gate allows 0.0%",
        "  one by one: the worst difference is 2.5e-01, the gate is 1e-04",
        "  worst score gap at a flip: 0.250",
        "  first step that differs: reviews_labels: `label` is bad, expected is good",
        "  case 2, one by one: `label` is bad, expected is good; input: good",
    ]


def test_cases_that_say_something_else_are_told_before_those_with_other_numbers() -> None:
    lines = printed(verdict(ranking("good", "bad", 0.7), EXPECTED[1], ranking("good", "bad", 0.875)))
    assert [line.split(",")[0].strip() for line in lines[-2:]] == ["case 3", "case 1"]


def test_a_refusal_is_told_as_any_difference() -> None:
    assert "  case 1, one by one: refused; input: 'fine\\nroom'" in printed(verdict(None, *EXPECTED[1:]))


def test_what_a_model_answered_is_shown_and_no_terminal_obeys_it() -> None:
    hostile = verdict(ranking("\x1b[2J\u202e\ud800", "bad", 0.75), *EXPECTED[1:])
    told = "\n".join(printed(hostile))
    assert "`label` is \\x1b[2J\\u202e\\ud800, expected is good" in told
    assert "\x1b" not in told
    assert render([hostile]).isascii()
    assert json.loads(render([hostile]))["pipelines"][0]["differing"][0]["problem"].startswith("`label` is \x1b[2J")


def test_a_pipeline_that_could_not_be_compared_is_told_beside_the_others() -> None:
    lost = Verdict.of_problem("reviews", "PyTorch", Likeness(max_abs_difference=TOLERANCE), "its server is gone")
    assert printed(lost)[-1] == "reviews cannot be compared with PyTorch: its server is gone"
    file = io.StringIO()
    show([verdict(*EXPECTED), lost], Console(file=file, width=80))
    rows = [line.split() for line in file.getvalue().splitlines() if line.startswith("reviews ")]
    assert [row[-1] for row in rows[:2]] == ["passes", "fails"]
    found = json.loads(render([verdict(*EXPECTED), lost]))
    assert [each["passed"] for each in found["pipelines"]] == [True, False] and not found["passed"]
    assert found["pipelines"][1]["problem"] == "its server is gone"


def test_json_holds_every_case_and_no_number_that_json_lacks() -> None:
    found = json.loads(render([verdict(ranking("good", "bad", float("nan")), *EXPECTED[1:])]))
    assert found["passed"] is False
    (pipeline,) = found["pipelines"]
    assert pipeline["gate"]["max_abs_difference"] == TOLERANCE
    (way,) = pipeline["ways"]
    assert (way["cases"], way["differing"], way["flips"], way["worst_difference"]) == (3, 1, 0, None)
    assert way["missed"] == ["the worst difference is inf, the gate is 1e-04"]
    assert [each["place"] for each in pipeline["differing"]] == ["case 1"]
    assert pipeline["first_diverging_step"]["step"] == "reviews_labels"


def test_inputs_are_shown_in_short() -> None:
    assert shown_item({"image": np.array([b"\x89PNG\xff"], dtype=object)}) == "(5 bytes)"
    assert shown_item({"text": np.array([b""], dtype=object)}) == "''"
    assert shown_item({"history": np.arange(300, dtype=np.float32)}).endswith("…")
    assert shown_item({"text": np.array(["a" * 500], dtype=object), "n": np.array([3])}).endswith("…, [3]")
