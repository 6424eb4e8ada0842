"""A request's timeline as SVG: a row a step, a bar a phase. It stands in a page or alone and needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.printable import in_html, printable
from conch_tools.xray.advice import in_ms
from conch_tools.xray.plan import Plan
from conch_tools.xray.timing import Span, Timing

NAMES_WIDTH, BARS_WIDTH, ROW_HEIGHT, BAR_HEIGHT, AXIS_HEIGHT = 230, 620, 30, 18, 26
NAME_CHARACTERS = 30
TICKS = 5
SHORTEST_BAR = 0.8
"""Less would not be seen."""
PHASES = ("queue", "input", "compute", "output", "later")
STYLE = """
.xray text { font: 13px system-ui, sans-serif; fill: var(--ink, #1b1f24); }
.xray .tick { stroke: var(--rule, #d0d5dc); } .xray .end { text-anchor: end; } .xray .middle { text-anchor: middle; }
.xray .critical { font-weight: 700; }
@media (prefers-color-scheme: dark) {
  .xray text { fill: var(--ink, #e6e9ed); } .xray .tick { stroke: var(--rule, #3a424c); }
}
.xray .queue { fill: #d9822b; } .xray .input { fill: #6f86d6; } .xray .compute { fill: #1f8a70; }
.xray .output { fill: #a55bb0; }
.xray .later { fill: #7fb8a8; }
"""


def timeline(plan: Plan, timing: Timing) -> str:
    """An <svg> element. Names are escaped, and cut where they are long; steps on the critical path are bold."""
    rows = len(plan.steps)
    height = AXIS_HEIGHT + rows * ROW_HEIGHT + AXIS_HEIGHT
    width = NAMES_WIDTH + BARS_WIDTH + 40
    ends = [span.end_ms for span in timing.typical.spans.values()]
    scale = BARS_WIDTH / max(timing.typical.total_ms, *ends, 1e-6)
    return "".join(
        (
            f'<svg class="xray" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-labelledby="xray-title"><title id="xray-title">When each step of {in_html(plan.model)} waited and '
            f"worked</title><style>{STYLE}</style>",
            *_axis(BARS_WIDTH / scale, scale, AXIS_HEIGHT + rows * ROW_HEIGHT),
            *(
                _row(timing.typical.spans[step.name], AXIS_HEIGHT + place * ROW_HEIGHT, scale, timing)
                for place, step in enumerate(plan.steps)
            ),
            *_legend(height - 6),
            "</svg>",
        )
    )


def _axis(longest_ms: float, scale: float, bottom: int) -> Iterator[str]:
    for tick in range(TICKS + 1):
        ms = longest_ms * tick / TICKS
        x = NAMES_WIDTH + ms * scale
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{AXIS_HEIGHT - 4}" y2="{bottom}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{AXIS_HEIGHT - 10}">{ms:.1f}{" ms" if tick == TICKS else ""}</text>'


def _row(span: Span, top: int, scale: float, timing: Timing) -> str:
    name = printable(span.step)
    cut = name if len(name) <= NAME_CHARACTERS else "…" + name[1 - NAME_CHARACTERS :]
    bold = " critical" if span.step in timing.path else ""
    y = top + (ROW_HEIGHT - BAR_HEIGHT) / 2
    text_y = top + ROW_HEIGHT / 2 + 5
    label = f'<text class="end{bold}" x="{NAMES_WIDTH - 8}" y="{text_y:.0f}">{in_html(cut)}</text>'
    return label + "".join(_bars(span, y, scale))


def _bars(span: Span, y: float, scale: float) -> Iterator[str]:
    start = span.start_ms
    for phase in PHASES:
        ms = getattr(span.parts, f"{phase}_ms")
        x, width = NAMES_WIDTH + start * scale, max(SHORTEST_BAR if ms else 0.0, ms * scale)
        yield (
            f'<rect class="{phase}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}">'
            f"<title>{in_html(span.step)}: {phase} {in_ms(ms)}</title></rect>"
        )
        start += ms


def _legend(y: int) -> Iterator[str]:
    for place, phase in enumerate(PHASES):
        x = NAMES_WIDTH + place * 100
        yield f'<rect class="{phase}" x="{x}" y="{y - 11}" width="12" height="12"/>'
        yield f'<text x="{x + 18}" y="{y}">{phase}</text>'
