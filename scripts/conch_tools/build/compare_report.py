"""A comparison of variants for people: a table, and bars as an SVG picture, drawn by hand."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from conch_tools.build.compare import AS_BUILT, Row
from conch_tools.svg import INK, document, text

WIDTH, BAR, GAP, LEFT, TOP = 720, 14, 26, 130, 64
SPEEDS = (("speed_1", "batch 1", "#0b6bcb"), ("speed_32", "batch 32", "#b3541e"))
NO_GAIN = 1.05
"""Less than so many times as fast is no gain that turns can tell from chance."""


def verdict(row: Row) -> str:
    """What to make of a variant."""
    if row.name == AS_BUILT:
        return "-"
    if row.problems:
        return "refused"
    return "passes" if max(row.speed_1 or 0.0, row.speed_32 or 0.0) >= NO_GAIN else "no faster"


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """The table, then the quality of each variant and what each refused one misses."""
    table = Table("variant", "size", "load", "memory", "batch 1", "batch 32", "verdict")
    for row in rows:
        figures = ["-"] * 5
        if row.bytes is not None:
            figures = [
                f"{row.bytes / 1e6:.1f} MB",
                f"{row.load_s:.2f} s",
                f"{(row.memory_bytes or 0) / 1e6:.0f} MB",
                f"{row.speed_1:.2f} x",
                f"{row.speed_32:.2f} x",
            ]
        table.add_row(row.name, *figures, verdict(row))
    console.print(table)
    for row in rows:
        if row.quality:
            said = ", ".join(f"{name} {value:.4g}" for name, value in row.quality.items())
            console.print(f"conch: {row.name}: {said}", highlight=False, markup=False, soft_wrap=True)
    for row in rows:
        for problem in row.problems:
            console.print(f"conch: {row.name}: {problem}", highlight=False, markup=False, soft_wrap=True)


def speeds_drawn(rows: Sequence[Row], title: str) -> str:
    """An SVG document: how many times as fast as the graph as built each variant is, and how large."""
    shown = [row for row in rows if row.bytes is not None]
    most = max(max(row.speed_1 or 0.0, row.speed_32 or 0.0) for row in shown)
    scale = (WIDTH - LEFT - 150) / most
    height = TOP + len(shown) * (2 * BAR + GAP) + 8
    parts = [
        text(12, 22, title, size=15),
        *(text(LEFT + 110 * number, 46, label, fill=colour) for number, (_, label, colour) in enumerate(SPEEDS)),
    ]
    for number, row in enumerate(shown):
        y = TOP + number * (2 * BAR + GAP)
        refused = " (refused)" if row.problems else ""
        parts.append(text(12, y + BAR, row.name))
        parts.append(text(12, y + 2 * BAR, f"{(row.bytes or 0) / 1e6:.1f} MB{refused}", fill="#6e7781"))
        for place, (field, _, colour) in enumerate(SPEEDS):
            speed, top = getattr(row, field), y + place * BAR
            parts.append(f'<rect x="{LEFT}" y="{top}" width="{speed * scale:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(text(round(LEFT + speed * scale + 6, 1), top + BAR - 3, f"{speed:.2f} x"))
    one = LEFT + scale
    parts.append(f'<line x1="{one:.1f}" y1="{TOP - 6}" x2="{one:.1f}" y2="{height - 8}" stroke="{INK}"/>')
    return document(WIDTH, height, parts)
