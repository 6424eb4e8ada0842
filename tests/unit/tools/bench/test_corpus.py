"""The bench's texts: mixed lengths, the same every time."""

from __future__ import annotations

from conch_tools.bench.corpus import CORPUS_SIZE, LONGEST_WORDS, SHORTEST_WORDS, mixed_length_texts


def test_texts_are_the_same_in_every_run() -> None:
    assert mixed_length_texts() == mixed_length_texts()


def test_every_length_from_the_shortest_to_the_longest_occurs() -> None:
    lengths = {len(text.split()) for text in mixed_length_texts()}
    assert lengths == set(range(SHORTEST_WORDS, LONGEST_WORDS + 1))


def test_no_text_occurs_twice() -> None:
    assert len(set(mixed_length_texts())) == CORPUS_SIZE


def test_a_smaller_corpus_is_the_beginning_of_the_larger() -> None:
    assert mixed_length_texts(8) == mixed_length_texts(32)[:8]
