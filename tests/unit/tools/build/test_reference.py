"""The corpus of a build: mixed, awkward, and the same every time."""

import numpy as np

from conch_tools.build.reference import BATCH_SIZES, CORPUS_SIZE, batches_of, largest_difference, mixed_texts


def test_the_corpus_is_the_same_for_the_same_samples() -> None:
    assert mixed_texts(["one two", "three"]) == mixed_texts(["one two", "three"])


def test_the_corpus_mixes_lengths_and_holds_what_breaks_tokenizers() -> None:
    texts = mixed_texts(["alpha beta gamma"])
    lengths = [len(text.split()) for text in texts]
    assert len(texts) == CORPUS_SIZE
    assert "" in texts
    assert min(lengths) == 0
    assert max(lengths) > 60
    assert len(set(lengths)) > 8
    assert any(not text.isascii() for text in texts)


def test_every_batch_size_is_asked_and_stays_inside_the_corpus() -> None:
    batches = batches_of(CORPUS_SIZE)
    assert {len(batch) for batch in batches} == set(BATCH_SIZES)
    assert max(batch.stop for batch in batches) <= CORPUS_SIZE


def test_another_shape_or_a_nan_is_an_infinite_difference() -> None:
    assert largest_difference(np.zeros(3), np.zeros(4)) == float("inf")
    assert largest_difference(np.array([np.nan]), np.array([0.0])) == float("inf")
    assert largest_difference(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.5
