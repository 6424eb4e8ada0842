"""What the pictures that are drawn by hand share: a document of SVG with a white ground, and words in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

INK = "#24292f"


def document(width: int, height: int, parts: Iterable[str]) -> str:
    """An SVG document of elements."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="12" fill="{INK}">'
    )
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, anchor: str = "start", size: int = 12, fill: str = INK) -> str:
    """An element of words, which are escaped; `anchor` says whether they start, have their middle or end at x."""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(words)}</text>'
