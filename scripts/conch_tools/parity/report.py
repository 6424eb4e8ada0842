"""Verdicts for people: a table with a row a way of asking, and below it what differs and where that began."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conch_tools.files import now
from conch_tools.parity.asking import Outcome
from conch_tools.parity.verdict import SHOWN_CHARACTERS, Example, Verdict
from conch_tools.printable import printable, shortened

SHOWN_EXAMPLES = 3


def show(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print the table, and what is to be said of each pipeline."""
    console.print(_table(verdicts))
    for verdict in verdicts:
        for line in _told(verdict):
            console.print(_text(line), soft_wrap=True)


def render(verdicts: Sequence[Verdict]) -> str:
    """Everything, as JSON in ASCII: no terminal obeys what a model answered, and every one can write it."""
    date = now()
    passed = all(verdict.passed for verdict in verdicts)
    found = {"date": date, "passed": passed, "pipelines": [verdict.as_json() for verdict in verdicts]}
    return json.dumps(found, indent=2, allow_nan=False)


def _table(verdicts: Sequence[Verdict]) -> Table:
    """Of the figures that say something of any of the pipelines."""
    rows = [_figures(outcome) for verdict in verdicts for outcome in verdict.outcomes]
    columns = list(dict.fromkeys(name for row in rows for name in row if any(each[name] for each in rows)))
    table = Table(box=box.SIMPLE_HEAD, highlight=False, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("pipeline", overflow="fold")
    table.add_column("asked", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    for verdict in verdicts:
        name = verdict.pipeline
        for outcome in verdict.outcomes:
            figures, gate = _figures(outcome), "fails" if verdict.missed[outcome.way] else "passes"
            table.add_row(*map(_text, (name, outcome.way, *(figures[column] for column in columns), gate)))
            name = ""
        if verdict.problem is not None:
            table.add_row(*map(_text, (name, "", *("" for _ in columns), "fails")))
    return table


def _figures(outcome: Outcome) -> dict[str, str]:
    figures = outcome.figures
    return {
        "cases": str(figures.cases),
        "differ": str(figures.differing),
        "flips": "" if figures.flips is None else str(figures.flips),
        "F1": "" if figures.span_f1 is None else f"{figures.span_f1:.4f}",
        "cosine": "" if figures.cosine is None else f"{figures.cosine:.5f}",
        "worst": f"{figures.worst_difference:.1e}",
    }


def _told(verdict: Verdict) -> Iterator[str]:
    """What is said of a pipeline below the table."""
    gate = f"the gate is {verdict.gate.max_abs_difference:.0e}"
    examples = verdict.examples
    if verdict.problem is not None:
        yield f"{verdict.pipeline} cannot be compared with {verdict.compared_with}: {verdict.problem}"
        return
    if not examples:
        yield f"{verdict.pipeline} gives the answers of {verdict.compared_with} ({gate})."
        return
    worth = "passes" if verdict.passed else "fails"
    yield f"{verdict.pipeline} compared with {verdict.compared_with} {worth}:"
    for way, missed in verdict.missed.items():
        yield from (f"  {way}: {problem}" for problem in missed)
    gaps = [each.figures.flip_gap for each in verdict.outcomes if each.figures.flip_gap is not None]
    if gaps:
        yield f"  worst score gap at a flip: {max(gaps):.3f}"
    if verdict.divergence is not None:
        why = shortened(verdict.divergence.problem, SHOWN_CHARACTERS)
        yield f"  first step that differs: {verdict.divergence.step}: {why}"
    first = _of_different_cases(examples)
    for each in first[:SHOWN_EXAMPLES]:
        yield f"  {each.place}, {each.way}: {shortened(each.problem, SHOWN_CHARACTERS)}; input: {each.input}"
    if len(first) > SHOWN_EXAMPLES:
        yield f"  and {len(first) - SHOWN_EXAMPLES} more cases: --json tells them all"


def _of_different_cases(examples: Sequence[Example]) -> list[Example]:
    """The first of each case."""
    found: dict[str, Example] = {}
    for each in examples:
        found.setdefault(each.place, each)
    return list(found.values())


def _text(said: str) -> Text:
    return Text(printable(said))
