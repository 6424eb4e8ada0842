"""A report as one HTML file that needs nothing else: no script, no font, no request to anywhere.

Tensors hold what strangers sent, so everything is escaped, and the page forbids itself by a policy of its own to load
or to run anything, should that ever fail.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files

from conch_tools.printable import in_html
from conch_tools.xray.advice import bottleneck_of
from conch_tools.xray.plan import Plan
from conch_tools.xray.report import Examined, Report
from conch_tools.xray.tensors import TensorFacts
from conch_tools.xray.timeline import timeline
from conch_tools.xray.timing import Timing
from conch_tools.xray.words import difference_ms, difference_words, range_words, sample_words, summary, time_table

NAMED, AS_CODE = re.compile("`([^`]+)`"), r"<code>\1</code>"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page_of(report: Report) -> str:
    """The whole document."""
    title = f"x-ray of {report.one.target}"
    body = [f"<h1>{in_html(title)}</h1>", *_examined(report.one)]
    if report.other is not None:
        body += [f"<h2>Against {_code(str(report.other.target))}</h2>", *_differences(report)]
        body += [f"<h2>{_code(str(report.other.target))} by itself</h2>", *_examined(report.other)]
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{in_html(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        )
    )


def _style() -> str:
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _examined(one: Examined) -> Iterator[str]:
    yield f'<p class="soft">Asked at {_code(one.target.url)}.</p>'
    if one.problem:
        yield f'<p class="bad">{in_html(one.problem)}</p>'
    yield "<ul>" + "".join(map(_item, (*one.advice, *summary(one)))) + "</ul>"
    if isinstance(one.timing, Timing):
        yield "<h3>Timeline of a request of median length</h3>"
        yield f'<div class="scroll">{timeline(one.plan, one.timing)}</div>'
        if one.timing.source == "statistics":
            yield '<p class="soft">Laid out from averages, each step as early as those before allow.</p>'
        yield from _times(one.plan, one.timing)
    yield "<h3>Tensors</h3>"
    yield from _tensors(one)


def _times(plan: Plan, timing: Timing) -> Iterator[str]:
    slowest = bottleneck_of(plan, timing)
    (_, headings), *rows = time_table(plan, timing)
    yield '<h3>Milliseconds of each step</h3>\n<div class="scroll"><table><thead><tr><th scope="col">step</th>'
    yield "".join(f'<th scope="col" class="number">{each}</th>' for each in headings)
    yield "</tr></thead><tbody>"
    for step, cells in rows:
        name = step.name if step else ""
        mark = ' class="slowest"' if step is slowest else ""
        numbers = "".join(f'<td class="number">{each}</td>' for each in cells)
        yield f'<tr{mark}><th scope="row">{_code(name)}</th>{numbers}</tr>'
    yield "</tbody></table></div>"
    yield (
        '<p class="soft">Medians. total: within the whole; alone: the step asked by itself; path: what it adds to the '
        "critical path, which decides how long a request takes.</p>"
    )


def _tensors(one: Examined) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr><th scope="col">tensor</th><th scope="col">type and shape</th>'
    yield '<th scope="col">range</th><th scope="col">first values</th></tr></thead><tbody>'
    yield from _of_step("the request", [one.facts[name] for name in one.plan.inputs if name in one.facts])
    for step in one.plan.steps:
        if step.name in one.walk.answered:
            yield from _of_step(step.name, one.given_by(step))
    if one.walk.failure is not None:
        failed = f"{_code(one.walk.failure.step)} failed"
        yield f'<tr class="step"><th colspan="4" scope="rowgroup" class="bad">{failed}</th></tr>'
    yield "</tbody></table></div>"


def _of_step(name: str, tensors: Iterable[TensorFacts]) -> Iterator[str]:
    yield f'<tr class="step"><th colspan="4" scope="rowgroup">{_code(name)}</th></tr>'
    for facts in tensors:
        mean = "" if facts.range is None else f'<br><span class="soft">mean {facts.range.mean:.4g}</span>'
        images = "".join(_image(kind, content) for kind, content in facts.images)
        yield (
            f"<tr><td>{_code(facts.wire)}</td><td>{in_html(facts.described)}<br>"
            f'<span class="soft">{facts.size_bytes:,} bytes</span></td><td>{in_html(range_words(facts))}{mean}</td>'
            f'<td class="values">{in_html(sample_words(facts))}{images}</td></tr>'
        )


def _image(kind: str, content: bytes) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="the image that this value holds" src="data:image/{kind};base64,{data}">'


def _differences(report: Report) -> Iterator[str]:
    yield "<ul>" + "".join(map(_item, difference_words(report))) + "</ul>"
    yield '<div class="scroll"><table><thead><tr><th scope="col">step</th><th scope="col">of the other</th>'
    yield '<th scope="col">tensor</th><th scope="col">difference</th><th scope="col" class="number">ms</th>'
    yield "</tr></thead><tbody>"
    for each in report.differences:
        names = f"<td>{_code(each.step or '-')}</td><td>{_code(each.other or '-')}</td>"
        ms = f'<td class="number">{in_html(difference_ms(report, each))}</td>'
        if not each.tensors:
            yield f"<tr>{names}<td></td><td></td>{ms}</tr>"
        for wire, found in each.tensors:
            kind = ' class="bad"' if found.beyond else ""
            yield f"<tr>{names}<td>{_code(wire)}</td><td{kind}>{in_html(found.words)}</td>{ms}</tr>"
    yield "</tbody></table></div>"


def _item(sentence: str) -> str:
    """A sentence with its names, which stand between backticks, set as code."""
    return f"<li>{NAMED.sub(AS_CODE, in_html(sentence))}</li>"


def _code(text: str) -> str:
    return f"<code>{in_html(text)}</code>"
