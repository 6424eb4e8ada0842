"""What a comparison of variants says and draws."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from rich.console import Console

from conch_tools.build.compare import AS_BUILT, Row
from conch_tools.build.compare_report import print_rows, speeds_drawn, verdict

BUILT = Row(AS_BUILT, 90_400_000, 0.4, 395_000_000, 9.4, 2500.0, 1.0, 1.0)
FAST = replace(BUILT, name="int8", bytes=58_700_000, speed_1=2.5, speed_32=2.0, quality={"cosine": 0.9765})
SLOW = replace(FAST, name="fp16", speed_1=0.97, speed_32=0.93)
REFUSED = replace(FAST, name="int8-calibrated", problems=["batches: the smallest cosine is 0.83"])
IMPOSSIBLE = Row("graph", problems=["onnxruntime cannot make it"])
ROWS = [BUILT, FAST, SLOW, REFUSED, IMPOSSIBLE]


@pytest.mark.parametrize(
    ("row", "said"),
    [(BUILT, "-"), (FAST, "passes"), (SLOW, "no faster"), (REFUSED, "refused"), (IMPOSSIBLE, "refused")],
)
def test_a_variant_passes_only_when_its_gates_do_and_it_is_faster(row: Row, said: str) -> None:
    assert verdict(row) == said


def test_the_table_shows_every_figure_and_the_reason_of_every_refusal() -> None:
    console = Console(width=80, record=True, file=None, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        print_rows(ROWS, console)
    printed = captured.get()
    for words in ("58.7 MB", "2.50 x", "2.00 x", "395 MB", "int8: cosine 0.9765", "graph: onnxruntime cannot make it"):
        assert words in printed


def test_bars_are_as_long_as_variants_are_fast_and_what_cannot_be_made_has_none() -> None:
    picture = ElementTree.fromstring(speeds_drawn(ROWS, "a < b"))
    bars = [float(each.attrib["width"]) for each in picture if each.tag.endswith("rect")][1:]
    assert len(bars) == 2 * 4
    assert bars[2] / bars[0] == pytest.approx(2.5, rel=0.01)
    assert "a < b" in [each.text for each in picture]
