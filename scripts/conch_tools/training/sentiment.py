"""Positive or negative: the MiniLM encoder with a low-rank adapter and a linear head, trained on Conch's own reviews.

A sentence encoder knows topics, not opinions: a linear probe on its frozen embeddings stays well under the gate, so the
encoder itself is adapted (conch_tools.training.adapter).

The reviews (data/sentiment) were written for this repository; nothing in them is taken from a published data set.
`reviews.tsv` trains; `heldout.tsv` was written by another hand and only measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from conch_tools.training import DATA, Report, encoder_folder
from conch_tools.training.adapter import Recipe, Row, adapt, fit, load_trained, save_trained

labels: Sequence[str] = ["negative", "positive"]

FOLDER = DATA / "sentiment"
ADAPTER = FOLDER / "adapter.safetensors"
RECIPE = Recipe(tokens=280_000)
LABEL_SMOOTHING = 0.1
WORDS_A_REVIEW = 30
"""Longer reviews are left out of training: without them the same time holds more reviews, which teaches more."""


class SentimentModel(torch.nn.Module):
    """Mean of the encoder's token states, then a linear head: (ids [n, L], mask [n, L]) to logits FP32 [n, 2]."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(int(encoder.config.hidden_size), len(labels))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        states = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
        counts = mask.unsqueeze(-1).to(states.dtype)
        logits: torch.Tensor = self.head((states * counts).sum(dim=1) / counts.sum(dim=1))
        return logits


def load(folder: Path) -> SentimentModel:
    """The encoder in `folder` with the committed adapter merged into its weights, and the committed head."""
    model = _adapted(folder)
    load_trained(model, ADAPTER)
    return model.eval()


def max_positions(model: torch.nn.Module) -> int:
    """How many tokens a row of the model may have at most: the encoder's position embeddings."""
    encoder: Any = model.encoder
    return int(encoder.config.max_position_embeddings)


def heldout() -> list[tuple[str, str]]:
    """Reviews by another hand, with their labels."""
    return read_reviews(FOLDER / "heldout.tsv")


def read_reviews(path: Path) -> list[tuple[str, str]]:
    """(text, label) of every line `label<TAB>text`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(text, label) for label, text in (line.split("\t", 1) for line in lines)]


def train(report: Report) -> None:
    """Train the adapter and the head on the reviews and write them."""
    save_trained(fit_reviews(encoder_folder(), read_reviews(FOLDER / "reviews.tsv"), RECIPE, report), ADAPTER)


def fit_reviews(folder: Path, reviews: Sequence[tuple[str, str]], recipe: Recipe, report: Report) -> SentimentModel:
    """A model trained on the short ones of `reviews`."""
    torch.manual_seed(0)
    model = _adapted(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    short = [(text, label) for text, label in reviews if len(text.split()) <= WORDS_A_REVIEW]
    ids = tokenizer([text for text, _ in short])["input_ids"]
    truths = torch.tensor([labels.index(label) for _, label in short])

    def losses(logits: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(
            logits, truths[chosen], label_smoothing=LABEL_SMOOTHING, reduction="none"
        )

    fit(model, [Row(row, [0] * len(row)) for row in ids], losses, recipe, report)
    return model


def _adapted(folder: Path) -> SentimentModel:
    # Eager attention: the fused one is slower on a CPU in BF16, and does not export to plain matrix products.
    encoder = AutoModel.from_pretrained(
        folder, attn_implementation="eager", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = SentimentModel(encoder.requires_grad_(False))
    adapt(encoder.encoder)
    return model
