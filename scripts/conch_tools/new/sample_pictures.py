"""Pictures that the samples of a new image pipeline show: drawn, small, and the same on every machine.

Two that have nothing in common, one wide and one tall, so that a running pipeline that answers both as the source does
is one that looks at what it gets.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
LONG, SHORT = 160, 120
LARGER = 4
"""Drawn so much larger and then made smaller, edges are smooth."""
PETALS = 14


def landscape() -> bytes:
    """A sun over hills and water, wide, as PNG."""
    image, draw = _page(LONG, SHORT, (96, 168, 232), (214, 236, 250))
    _disc(draw, (118, 28), 13, (255, 214, 66))
    _polygon(draw, [(0, 78), (34, 38), (62, 74), (92, 48), (160, 84), (160, 120), (0, 120)], (88, 104, 122))
    _polygon(draw, [(0, 84), (50, 70), (104, 90), (160, 76), (160, 120), (0, 120)], (62, 132, 66))
    _polygon(draw, [(40, 120), (70, 98), (116, 98), (150, 120)], (52, 116, 176))
    return _png(image)


def daisy() -> bytes:
    """A flower before leaves, tall, as PNG."""
    image, draw = _page(SHORT, LONG, (30, 84, 40), (66, 128, 58))
    _polygon(draw, [(57, 62), (63, 62), (66, 160), (58, 160)], (92, 150, 64))
    for number in range(PETALS):
        turn = 2 * math.pi * number / PETALS
        for step in range(8):
            reach = 16 + 4 * step
            place = (60 + reach * math.cos(turn), 60 + reach * math.sin(turn))
            _disc(draw, place, 6.5 - abs(step - 4.5), (246, 246, 240))
    _disc(draw, (60, 60), 15, (246, 190, 40))
    return _png(image)


def _page(width: int, height: int, top: Colour, bottom: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A page whose colour goes from one at the top to another at the bottom."""
    shade = Image.linear_gradient("L").resize((LARGER * width, LARGER * height))
    page = Image.composite(Image.new("RGB", shade.size, bottom), Image.new("RGB", shade.size, top), shade)
    return page, ImageDraw.Draw(page)


def _disc(draw: ImageDraw.ImageDraw, middle: tuple[float, float], radius: float, colour: Colour) -> None:
    (x, y), reach = middle, radius
    draw.ellipse([LARGER * (x - reach), LARGER * (y - reach), LARGER * (x + reach), LARGER * (y + reach)], fill=colour)


def _polygon(draw: ImageDraw.ImageDraw, corners: Sequence[tuple[int, int]], colour: Colour) -> None:
    draw.polygon([(LARGER * x, LARGER * y) for x, y in corners], fill=colour)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.reduce(LARGER).save(file, "PNG", optimize=True)
    return file.getvalue()
