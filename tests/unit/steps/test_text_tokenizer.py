"""Texts become ragged token ids; what is no text is refused by its place in the request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError
from conch_steps.text_tokenizer import TextTokenizer, ragged
from conch_steps.texts import REQUEST_FACTOR

MAX_TOKENS = 6
VOCABULARY = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "red": 4, "bicycle": 5}


def save_tokenizer(folder: Path, truncation: bool = True) -> Path:
    """A tokenizer of three words, with BERT's special tokens around a text."""
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    if truncation:
        tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(length=20)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer(save_tokenizer(tmp_path_factory.mktemp("tokenizer")), max_text_bytes=100)


def texts(*rows: bytes) -> npt.NDArray[np.object_]:
    return np.array([[row] for row in rows], dtype=object)


def test_ids_come_with_their_lengths_and_a_span_as_wide_as_the_widest(tokenizer: TextTokenizer) -> None:
    answer = tokenizer.encode(texts(b"a red bicycle", b"red", b""))
    assert answer["input_ids"].tolist() == [[1, 3, 4, 5, 2], [1, 4, 2, 0, 0], [1, 2, 0, 0, 0]]
    assert answer["length"].tolist() == [[5], [3], [2]]
    assert answer["span"].shape == (3, 2)
    assert {array.dtype for array in answer.values()} == {np.dtype(np.int32)}


def test_long_texts_are_truncated_and_never_padded_to_the_files_length(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode(texts(b"a " * 40))["input_ids"].tolist() == [[1, 3, 3, 3, 3, 2]]
    assert tokenizer.encode(texts(b"a"))["input_ids"].shape == (1, 3)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xff", r"`text`\[1\] is not UTF-8: byte 0 is 0xff"),
        ("caf\u00e9".encode("latin-1"), r"`text`\[1\] is not UTF-8: byte 3 is 0xe9"),
        (b"\xed\xa0\x80", r"`text`\[1\] is not UTF-8"),
        (b"a" * 101, r"`text`\[1\] has 101 bytes, the limit is 100: shorten it or split it"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(tokenizer: TextTokenizer, raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        tokenizer.encode(texts(b"a", raw, b"red"))


def test_texts_have_a_limit_together(tokenizer: TextTokenizer) -> None:
    whole = b"a " * 50
    assert tokenizer.encode(texts(*[whole] * REQUEST_FACTOR))["length"].tolist() == [[MAX_TOKENS]] * REQUEST_FACTOR
    with pytest.raises(InvalidInput, match="more than 400 bytes together: send them in several requests"):
        tokenizer.encode(texts(*[whole] * REQUEST_FACTOR, b"a"))


def test_no_texts_are_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidInput, match="`text` has no rows"):
        tokenizer.encode(np.empty((0, 1), dtype=object))


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is missing: run `conch build`"):
        TextTokenizer(tmp_path / "tokenizer.json")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelConfigError, match=r"tokenizer\.json is not a tokenizer: "):
        TextTokenizer(tmp_path / "tokenizer.json")


def test_a_file_without_truncation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=r"tokenizer\.json sets no truncation"):
        TextTokenizer(save_tokenizer(tmp_path, truncation=False))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=30), min_size=1, max_size=9))
def test_rows_can_be_read_back_and_the_span_is_wide_enough_for_each(rows: list[list[int]]) -> None:
    answer = ragged(rows)
    lengths = answer["length"][:, 0].tolist()
    assert [ids[:length].tolist() for ids, length in zip(answer["input_ids"], lengths, strict=True)] == rows
    assert not any(ids[length:].any() for ids, length in zip(answer["input_ids"], lengths, strict=True))
    widest = max(map(len, rows))
    assert widest <= answer["span"].size < widest + len(rows)
