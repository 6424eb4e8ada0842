"""The corpus of a build: mixed, awkward, and the same every time."""

from conch_tools.build.reference import CORPUS_SIZE, mixed_texts


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
