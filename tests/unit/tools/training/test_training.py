"""Conch's own trainings: the committed weights reach their gates, and the recipe that made them still learns."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.errors import SettingsError
from conch_tools.training import adapter, digits, encoder_folder, sentiment, training_named
from conch_tools.training.adapter import Recipe

MAX_WEIGHTS_BYTES = 3_000_000


@pytest.fixture(scope="module")
def encoder() -> Path:
    return encoder_folder()


def accuracy(model: sentiment.SentimentModel, encoder: Path, reviews: list[tuple[str, str]]) -> float:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    right = 0
    with torch.no_grad():
        for text, label in reviews:
            row = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            best = int(model(row["input_ids"], row["attention_mask"]).argmax())
            right += sentiment.labels[best] == label
    return right / len(reviews)


def test_an_unknown_training_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"there are digits, .*sentiment"):
        training_named("poetry")


def test_the_reviews_are_enough_balanced_and_apart_from_the_held_out_ones() -> None:
    reviews = sentiment.read_reviews(sentiment.FOLDER / "reviews.tsv")
    held = sentiment.heldout()
    assert len(reviews) >= 1000
    assert {label for _, label in reviews} == set(sentiment.labels)
    positive = sum(label == "positive" for _, label in reviews) / len(reviews)
    assert 0.48 < positive < 0.52
    texts = [text.casefold() for text, _ in reviews]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {text.casefold() for text, _ in held}


@pytest.mark.parametrize("weights", [sentiment.ADAPTER, digits.WEIGHTS])
def test_committed_weights_are_small(weights: Path) -> None:
    assert weights.stat().st_size <= MAX_WEIGHTS_BYTES


def test_the_committed_sentiment_adapter_judges_held_out_reviews(encoder: Path) -> None:
    assert accuracy(sentiment.load(encoder), encoder, sentiment.heldout()) >= 0.90


def test_a_brief_training_from_the_same_recipe_learns(encoder: Path) -> None:
    reviews = [review for review in sentiment.read_reviews(sentiment.FOLDER / "reviews.tsv") if len(review[0]) < 60]
    model = sentiment.fit_reviews(encoder, reviews[:3000], Recipe(tokens=36_000), lambda line: None)
    held = [review for review in sentiment.heldout() if len(review[0]) < 60]
    assert accuracy(model, encoder, held) > 0.65


@pytest.mark.parametrize("flags", ["avx512f avx512_bf16", "sse2 amx_bf16 amx_tile"])
def test_processors_that_multiply_bf16_train_in_it(flags: str) -> None:
    assert adapter.precision_for(f"model name: any\nflags: {flags}\n") is torch.bfloat16


@pytest.mark.parametrize("flags", ["", "avx2 avx512f avx512_vnni"])
def test_others_train_in_fp32(flags: str) -> None:
    assert adapter.precision_for(f"flags: {flags}") is torch.float32


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_the_same_seed_gives_the_same_weights(
    encoder: Path, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "PRECISION", precision)
    reviews = sentiment.read_reviews(sentiment.FOLDER / "reviews.tsv")[:40]
    first, second = (sentiment.fit_reviews(encoder, reviews, Recipe(tokens=3_000), lambda line: None) for _ in range(2))
    torch.testing.assert_close(first.head.weight, second.head.weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [8, 28, 300])
@pytest.mark.parametrize("inverted", [False, True])
def test_digits_are_read_at_any_size_and_polarity(size: int, inverted: bool) -> None:
    decoder = ImageDecoder(Preprocessing.from_settings(digits.preprocessing))
    _, pictures, _, truths = digits.split()
    images = []
    for picture in pictures[:200]:
        image = Image.fromarray((picture * (255 / 16)).astype(np.uint8)).resize((size, size))
        if inverted:
            image = image.point([255 - level for level in range(256)])
        encoded = io.BytesIO()
        image.save(encoded, "PNG")
        images.append([encoded.getvalue()])
    with torch.no_grad():
        logits = digits.load()(torch.from_numpy(decoder.decode(np.array(images, dtype=np.object_))))
    assert (logits.argmax(1).numpy() == truths[:200]).mean() >= 0.97
