"""Pictures of drawn shapes and the words that are true of them, for the image_text training."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLOURS = {
    "red": (215, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 210),
    "purple": (130, 50, 170),
    "pink": (245, 130, 180),
    "brown": (125, 75, 35),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart")
SIZES = ("small", "large")
PAPERS = ((255, 255, 255), (236, 232, 222), (205, 214, 224), (224, 240, 224), (190, 190, 190))


@dataclass(frozen=True)
class Scene:
    """What a picture shows, or, where a field is empty, what a caption leaves open."""

    colour: str = ""
    shape: str = ""
    size: str = ""

    def includes(self, caption: Scene) -> bool:
        """Whether a caption is true of this scene."""
        shown, said = (self.colour, self.shape, self.size), (caption.colour, caption.shape, caption.size)
        return all(word in ("", fact) for fact, word in zip(shown, said, strict=True))

    def caption(self) -> str:
        """In words: `a large red star`, `a cross`, `a blue shape`."""
        words = " ".join(word for word in (self.size, self.colour, self.shape or "shape") if word)
        return f"an {words}" if words.startswith("o") else f"a {words}"


def draw(scene: Scene, chance: random.Random) -> Image.Image:
    """A picture of the scene, 64 to 160 pixels a side and a little more."""
    edge = chance.randint(64, 160)
    width, height = chance.choice([(edge, edge), (edge, edge), (int(edge * 1.15), edge), (edge, int(edge * 1.15))])
    image = Image.new("RGB", (width, height), chance.choice(PAPERS))
    reach = edge * (chance.uniform(0.38, 0.46) if scene.size == "large" else chance.uniform(0.24, 0.3))
    slack = edge * 0.06
    centre = (width / 2 + chance.uniform(-slack, slack), height / 2 + chance.uniform(-slack, slack))
    _draw_shape(ImageDraw.Draw(image), scene.shape, centre, reach, _tint(COLOURS[scene.colour], chance), chance)
    return image


def encoded(image: Image.Image, chance: random.Random) -> bytes:
    """As PNG or as a good JPEG."""
    file = io.BytesIO()
    image.save(file, chance.choice(["PNG", "JPEG"]), quality=92)
    return file.getvalue()


def _tint(colour: tuple[int, ...], chance: random.Random) -> tuple[int, ...]:
    return tuple(min(255, max(0, channel + chance.randint(-14, 14))) for channel in colour)


def _draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: str,
    centre: tuple[float, float],
    reach: float,
    colour: tuple[int, ...],
    chance: random.Random,
) -> None:
    x, y = centre
    if shape in ("circle", "ring"):
        box = (x - reach, y - reach, x + reach, y + reach)
        if shape == "circle":
            pen.ellipse(box, fill=colour)
        else:
            pen.ellipse(box, outline=colour, width=max(2, round(reach * chance.uniform(0.25, 0.4))))
        return
    turn = math.radians(chance.uniform(-15, 15))
    corners = [(px * reach, py * reach) for px, py in _OUTLINES[shape]]
    pen.polygon(
        [
            (x + px * math.cos(turn) - py * math.sin(turn), y + px * math.sin(turn) + py * math.cos(turn))
            for px, py in corners
        ],
        fill=colour,
    )


def _star() -> list[tuple[float, float]]:
    spikes = [(1.0 if corner % 2 == 0 else 0.42, corner * math.pi / 5) for corner in range(10)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for radius, angle in spikes]


def _heart() -> list[tuple[float, float]]:
    angles = [step * math.pi / 20 for step in range(40)]
    return [
        (
            math.sin(angle) ** 3,
            -(13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)) / 16,
        )
        for angle in angles
    ]


_ARM = 0.3
_OUTLINES: dict[str, Sequence[tuple[float, float]]] = {
    "square": [(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)],
    "triangle": [(0, -0.95), (0.9, 0.7), (-0.9, 0.7)],
    "star": _star(),
    "heart": _heart(),
    "cross": [
        *[(-_ARM, -0.95), (_ARM, -0.95), (_ARM, -_ARM), (0.95, -_ARM), (0.95, _ARM), (_ARM, _ARM)],
        *[(_ARM, 0.95), (-_ARM, 0.95), (-_ARM, _ARM), (-0.95, _ARM), (-0.95, -_ARM), (-_ARM, -_ARM)],
    ],
}
