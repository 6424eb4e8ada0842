"""Throughput against latency as an SVG picture, drawn by hand: two curves need no plotting library. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from conch_tools.svg import document, text
from conch_tools.tune.figures import Traffic

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 56, 56
COLOURS = ("#8a8f98", "#0b6bcb", "#b3541e", "#2e7d32")
TICKS = 6
HEADROOM = 1.1


def throughput_against_latency(curves: Mapping[str, Sequence[Traffic]], title: str) -> str:
    """An SVG document with one curve for each name: p99 latency to the right, requests a second upwards.

    Every point carries its number of requests in flight. Raises ValueError when there is no point at all.
    """
    points = [point for curve in curves.values() for point in curve]
    across = _Axis(LEFT, WIDTH - RIGHT, max(point.p99_ms for point in points) * HEADROOM)
    up = _Axis(HEIGHT - BOTTOM, TOP, max(point.requests_per_s for point in points) * HEADROOM)
    parts = [
        text(LEFT, 22, title, size=15),
        *_grid(across, up),
        *(
            part
            for number, (name, curve) in enumerate(curves.items())
            for part in _curve(name, curve, COLOURS[number % len(COLOURS)], number, across, up)
        ),
    ]
    return document(WIDTH, HEIGHT, parts)


class _Axis:
    """Values from 0 to `most`, drawn between two pixels."""

    def __init__(self, start: float, end: float, most: float) -> None:
        self._start, self._scale, self._most = start, (end - start) / most, most

    def at(self, value: float) -> float:
        return round(self._start + value * self._scale, 1)

    def ticks(self) -> list[float]:
        """Round numbers, about TICKS of them."""
        rough = self._most / TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        return [step * number for number in range(int(self._most / step) + 1)]


def _grid(across: _Axis, up: _Axis) -> list[str]:
    bottom, end = up.at(0), WIDTH - RIGHT
    parts = []
    for value in across.ticks():
        parts += [
            _line(across.at(value), TOP, across.at(value), bottom),
            text(across.at(value), bottom + 18, f"{value:g}", "middle"),
        ]
    for value in up.ticks():
        parts += [_line(LEFT, up.at(value), end, up.at(value)), text(LEFT - 8, up.at(value) + 4, f"{value:g}", "end")]
    parts.append(text((LEFT + end) / 2, HEIGHT - 14, "p99 latency, ms", "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">requests/s</text>'
    )
    return parts


def _curve(name: str, curve: Sequence[Traffic], colour: str, number: int, across: _Axis, up: _Axis) -> list[str]:
    places = [(across.at(point.p99_ms), up.at(point.requests_per_s)) for point in curve]
    path = " ".join(f"{x},{y}" for x, y in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (x, y), point in zip(places, curve, strict=True):
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(text(x, y - 9 if number else y + 18, str(point.concurrency), "middle", fill=colour))
    left = LEFT + 200 * number
    parts.append(f'<circle cx="{left + 5}" cy="40" r="5" fill="{colour}"/>')
    parts.append(text(left + 16, 44, name))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#e4e7eb"/>'
