"""A page of what strangers sent: nothing of it is ever markup, and nothing is loaded from anywhere."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from conch_tools.likeness import Array
from conch_tools.xray.as_json import plain
from conch_tools.xray.page import page_of
from conch_tools.xray.plan import plan_of
from conch_tools.xray.report import Examined, Report
from conch_tools.xray.table import rendered
from conch_tools.xray.target import Target
from conch_tools.xray.tensors import facts_of
from conch_tools.xray.timeline import timeline
from conch_tools.xray.timing import Parts, Request, Span, StepTime, Timing
from conch_tools.xray.walk import Failure, Walk

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J[bold]\u202e"
PNG = b"\x89PNG\r\n\x1a\n<script>"
LOADING = ("script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "use", "image")


class Reader(HTMLParser):
    """What a browser would find."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def examined(step: str, arrays: Mapping[str, Array], failure: Failure | None = None) -> Examined:
    """A model of one step that takes `x` and gives the other arrays."""
    config: dict[str, Any] = {
        "input": [{"name": "x", "data_type": "TYPE_STRING"}],
        "output": [{"name": name, "data_type": "TYPE_FP32"} for name in arrays if name != "x"],
    }
    plan = plan_of(step, "", lambda model, version: config)
    parts = Parts(0.1, 0.2, 3.0, 0.4)
    timing = Timing(
        source="statistics",
        remark=HOSTILE,
        requests=3,
        concurrency=1,
        total_ms=4.0,
        wall_ms=5.0,
        outside_ms=0.3,
        steps={step: StepTime(parts, None, 0.0, False)},
        typical=Request(4.0, {step: Span(step, 0.0, parts)}),
        path={step: 4.0},
    )
    return Examined(
        Target(step, "", "localhost:1"),
        plan,
        Walk(arrays, (step,) if failure is None else (), failure, ()),
        {wire: facts_of(wire, "FP32", array) for wire, array in arrays.items()},
        timing if failure is None else "the request was not answered",
        (HOSTILE,),
    )


@pytest.fixture
def report() -> Report:
    """Hostile in every place that a server or a caller fills."""
    arrays = {
        "x": np.array([[HOSTILE], [PNG]], dtype=object),
        HOSTILE: np.array([1.0, np.nan, np.inf], dtype=np.float32),
    }
    return Report(examined(HOSTILE, arrays), None, (), 1e-4)


def test_hostile_texts_stay_texts(report: Report) -> None:
    page = Reader(page_of(report))
    assert not [tag for tag, _ in page.tags if tag in LOADING]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text and "\u202e" not in page.text


def test_the_page_needs_nothing_from_elsewhere_and_forbids_it(report: Report) -> None:
    page = Reader(page_of(report))
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert sources
    assert all(source and source.startswith("data:image/png;base64,") for source in sources)
    policies = [each["content"] for tag, each in page.tags if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies and policies[0] and policies[0].startswith("default-src 'none';")
    assert "prefers-color-scheme" in page.text and "url(" not in page.text


def test_numbers_texts_and_times_are_there(report: Report) -> None:
    text = Reader(page_of(report)).text
    for shown in (
        "1 NaN, 1 infinite",
        "FP32 [3]",
        "png image",
        "4.00 ms on the server",
        "3.00",
        "Laid out from averages",
    ):
        assert shown in text


def test_the_timeline_is_sound_xml_with_a_title_and_its_phases_said_in_words(report: Report) -> None:
    assert isinstance(report.one.timing, Timing)
    root = ElementTree.fromstring(timeline(report.one.plan, report.one.timing))
    titles = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0].startswith("When each step of")
    assert any("compute 3.00 ms" in title for title in titles)
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("class") == "compute"]
    assert float(bars[0].get("width", "0")) == pytest.approx(620 * 3.0 / 4.0)


def test_a_terminal_obeys_nothing_of_it_either(report: Report) -> None:
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=True, color_system=None).print(rendered(report))
    printed = out.getvalue()
    assert "\x1b[2J" not in printed and "\u202e" not in printed
    assert "[bold]" in printed


def test_json_has_neither_nan_nor_infinity(report: Report) -> None:
    told = json.loads(json.dumps(plain(report), allow_nan=False))
    (_, tensor) = told["tensors"]
    assert tensor["range"] == {"minimum": 1.0, "mean": None, "maximum": None}
    assert told["timing"]["bottleneck"] == HOSTILE


def test_a_failed_step_is_told_with_the_servers_words_and_what_came_before() -> None:
    arrays = {"x": np.array(["a"], dtype=object)}
    failed = Report(examined("m", arrays, Failure("m", "it <b>broke</b>")), None, (), 1e-4)
    text = Reader(page_of(failed)).text
    assert "`m` failed: it <b>broke</b>" in text and "m failed" in text
    assert failed.problem == "`m` failed: it <b>broke</b>"
