"""A report for a terminal: the tensors, the times, what they say, and the differences."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conch_tools.printable import printable
from conch_tools.xray.advice import bottleneck_of
from conch_tools.xray.plan import Plan
from conch_tools.xray.report import Examined, Report
from conch_tools.xray.timing import Timing
from conch_tools.xray.words import difference_ms, difference_words, range_words, sample_words, summary, time_table

NAME_CHARACTERS = 18
"""What the names of steps have at least, however narrow the terminal."""


def rendered(report: Report) -> RenderableType:
    """Everything, in the order in which one reads it."""
    parts = list(_examined(report.one))
    if report.other is not None:
        parts += [_difference_table(report, str(report.other.target)), *map(_line, difference_words(report))]
    return Group(*parts)


def _examined(one: Examined) -> Iterator[RenderableType]:
    yield _tensor_table(one)
    if isinstance(one.timing, Timing):
        yield _time_table(one.plan, one.timing)
    yield from map(_line, [*summary(one), *one.advice])


def _tensor_table(one: Examined) -> Table:
    table = _table(f"{one.target}: tensors", expand=True)
    table.add_column("step, tensors", overflow="fold", min_width=NAME_CHARACTERS)
    table.add_column("range", overflow="fold")
    table.add_column("first values", no_wrap=True, overflow="ellipsis", ratio=1)
    given = [("the request", [one.facts[name] for name in one.plan.inputs if name in one.facts])]
    given += [(step.name, one.given_by(step)) for step in one.plan.steps if step.name in one.walk.answered]
    for name, tensors in given:
        table.add_row(_text(name))
        for facts in tensors:
            table.add_row(*map(_text, (f"  {facts.wire} {facts.described}", range_words(facts), sample_words(facts))))
    if one.walk.failure is not None:
        table.add_row(*map(_text, (one.walk.failure.step, "failed")))
    return table


def _time_table(plan: Plan, timing: Timing) -> Table:
    table = _table(f"{plan.model}: milliseconds; `path`: what a step adds to the critical path")
    # Ten columns have no room for more on 80.
    table.padding = (0, 0, 0, 1)
    table.add_column("step", overflow="fold", min_width=NAME_CHARACTERS)
    (_, headings), *rows = time_table(plan, timing)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    slowest = bottleneck_of(plan, timing)
    for step, cells in rows:
        name = step.name if step else ""
        table.add_row(*map(_text, (name, *cells)), style="bold" if step is slowest else None)
    return table


def _difference_table(report: Report, other: str) -> Table:
    table = _table(f"{report.one.target} against {other}")
    table.add_column("step, tensors", overflow="fold", min_width=NAME_CHARACTERS)
    table.add_column("of the other", overflow="fold")
    table.add_column("difference", overflow="fold")
    table.add_column("ms", justify="right", no_wrap=True)
    for each in report.differences:
        table.add_row(*map(_text, (each.step or "-", each.other or "-", "", difference_ms(report, each))))
        for wire, found in each.tensors:
            table.add_row(*map(_text, (f"  {wire}", "", found.words)))
    return table


def _table(title: str, expand: bool = False) -> Table:
    return Table(title=_text(title), title_justify="left", highlight=False, expand=expand)


def _line(sentence: str) -> RenderableType:
    return Padding(_text(sentence), (0, 0, 0, 1))


def _text(words: str) -> Text:
    return Text(printable(words))
