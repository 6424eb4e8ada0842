"""A small convolutional network for handwritten digits, trained on scikit-learn's copy of the UCI digits.

The data are 1,797 pictures of 8 x 8 pixels; users send photographs and screenshots of any size, dark on light or light
on dark, with or without a margin. Training therefore draws each digit anew in many such forms, encodes it, and reads it
back through the very decoder that serves, so the network meets in training what it will meet in service.

Data: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
CC BY 4.0.
"""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.training import DATA, Report

labels: Sequence[str] = [str(digit) for digit in range(10)]
preprocessing: Mapping[str, Any] = {
    "do_grayscale": True,
    "do_resize": True,
    "size": {"height": 16, "width": 16},
    "resample": int(Image.Resampling.BOX),
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5],
    "image_std": [0.5],
}

WEIGHTS = DATA / "digits" / "network.safetensors"
SEED = 7
HELDOUT_SHARE = 0.25
FORMS_PER_DIGIT = 10
EPOCHS = 8
BATCH = 128
PEAK_LEARNING_RATE = 3e-3
FULL_INK = 16.0
"""scikit-learn's digits count the inked pixels of a 4 x 4 block, 0 to 16."""


class DigitNetwork(torch.nn.Module):
    """Three convolutions and one hidden layer: FP32 [n, 1, 16, 16] to logits FP32 [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(32, 48, 3, padding=1),
            torch.nn.BatchNorm2d(48),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(48 * 4 * 4, 96),
            torch.nn.ReLU(),
            torch.nn.Linear(96, 10),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(pixels)
        return logits


def load() -> DigitNetwork:
    """The trained network."""
    network = DigitNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()


def heldout() -> list[tuple[bytes, str]]:
    """The held-out quarter, each digit in one form of its own as an encoded image."""
    chance = random.Random(SEED + 1)
    _, digits, _, truths = split()
    return [(draw(digit, chance), labels[truth]) for digit, truth in zip(digits, truths, strict=True)]


def corpus() -> list[bytes]:
    """Held-out digits of every class in many forms, for parity."""
    return [image for image, _ in heldout()[:48]]


def train(report: Report) -> None:
    """Train from scikit-learn's digits and write the network's weights."""
    torch.manual_seed(SEED)
    chance = random.Random(SEED)
    digits, _, truths, _ = split()
    pixels, targets = _drawn(digits, truths, chance)
    network = DigitNetwork().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2)
    steps = EPOCHS * (len(targets) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(targets))
        for start in range(0, len(targets) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            loss = torch.nn.functional.cross_entropy(
                network(_shaken(pixels[chosen])), targets[chosen], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        report(f"digits: epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f}")
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.eval().state_dict(), WEIGHTS)


def draw(digit: npt.NDArray[np.float64], chance: random.Random) -> bytes:
    """One digit [8, 8] of ink 0 to 16 as an encoded image: any size, polarity, margin, contrast and format."""
    grey = Image.fromarray((digit * (255 / FULL_INK)).astype(np.uint8))
    size = chance.choice([8, 12, 16, 20, 28, 32, 48, 64, 100, 160])
    if size > grey.width:
        grey = grey.resize((size, size), chance.choice([Image.Resampling.NEAREST, Image.Resampling.BICUBIC]))
    margin = int(size * chance.choice([0, 0, 0.06, 0.12, 0.2]))
    page = Image.new("L", (size + 2 * margin, size + 2 * margin), 0)
    page.paste(grey, (margin + chance.randint(-margin // 2, margin // 2), margin))
    ink, paper = chance.choice([(255, 0), (0, 255), (235, 20), (30, 240), (200, 60), (70, 200)])
    page = page.point([round(paper + (ink - paper) * level / 255) for level in range(256)])
    kind = chance.choice(["PNG", "PNG", "JPEG", "WEBP"])
    encoded = io.BytesIO()
    page.convert(chance.choice(["L", "RGB"])).save(encoded, kind, quality=90)
    return encoded.getvalue()


def split() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Training digits, held-out digits, training truths, held-out truths."""
    data = load_digits()
    digits, held, truths, held_truths = train_test_split(
        data.images, data.target, test_size=HELDOUT_SHARE, random_state=SEED, stratify=data.target
    )
    return digits, held, truths, held_truths


def _drawn(
    digits: npt.NDArray[np.float64], truths: npt.NDArray[np.int64], chance: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    decoder = ImageDecoder(Preprocessing.from_settings(preprocessing))
    images = [draw(digit, chance) for digit in digits for _ in range(FORMS_PER_DIGIT)]
    pixels = decoder.decode(np.array(images, dtype=np.object_).reshape(-1, 1))
    return torch.from_numpy(pixels), torch.from_numpy(truths.repeat(FORMS_PER_DIGIT))


def _shaken(pixels: torch.Tensor) -> torch.Tensor:
    """Each batch turned, scaled and moved a little, with noise."""
    turn = (torch.rand(1) - 0.5) * 0.4
    scale = 1 + (torch.rand(1) - 0.5) * 0.25
    move = (torch.rand(2) - 0.5) * 0.2
    matrix = torch.tensor(
        [[torch.cos(turn) * scale, -torch.sin(turn), move[0]], [torch.sin(turn), torch.cos(turn) * scale, move[1]]]
    ).expand(len(pixels), 2, 3)
    grid = torch.nn.functional.affine_grid(matrix, list(pixels.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return moved + torch.randn_like(moved) * 0.03
