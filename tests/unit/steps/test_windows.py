"""Long texts become overlapping windows, and every token knows its place in the text as it was sent."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError
from conch_steps.windows import Window, WindowTokenizer

MAX_TOKENS, OVERLAP = 8, 2
WORDS = ["red", "cafe", "שלום", "🙂"]


def save_tokenizer(folder: Path) -> Path:
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, **{word: 3 + number for number, word in enumerate(WORDS)}}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokenizer(file: Path) -> WindowTokenizer:
    return WindowTokenizer(file, MAX_TOKENS, OVERLAP)


def places(window: Window) -> list[tuple[int, int]]:
    return [offset for offset, inside in zip(window.offsets, window.in_text, strict=True) if inside]


def test_a_short_text_is_one_window(tokenizer: WindowTokenizer) -> None:
    (window,) = tokenizer.single(["red cafe"])
    assert window.ids == [1, 3, 4, 2]
    assert window.in_text == [False, True, True, False]


def test_an_empty_text_is_a_window_of_special_tokens(tokenizer: WindowTokenizer) -> None:
    assert [window.ids for window in tokenizer.single(["", "red"])] == [[1, 2], [1, 3, 2]]


def test_places_are_characters_of_the_text_as_it_was_sent(tokenizer: WindowTokenizer) -> None:
    text = "🙂 CAFÉ שלום red"
    (window,) = tokenizer.single([text])
    assert [text[start:end] for start, end in places(window)] == ["🙂", "CAFÉ", "שלום", "red"]


def test_a_combining_mark_that_the_tokenizer_drops_moves_no_later_place(tokenizer: WindowTokenizer) -> None:
    text = "cafe\u0301 red"
    (window,) = tokenizer.single([text])
    assert [text[start:end] for start, end in places(window)] == ["cafe", "red"]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_windows_cover_every_word_and_overlap_as_asked(tokenizer: WindowTokenizer, lengths: list[int]) -> None:
    texts = [" ".join(["red"] * length) for length in lengths]
    windows = tokenizer.single(texts)
    assert [window.owner for window in windows] == sorted(window.owner for window in windows)
    for owner, length in enumerate(lengths):
        own = [places(window) for window in windows if window.owner == owner]
        assert all(len(window.ids) <= MAX_TOKENS for window in windows)
        assert {place for window in own for place in window} == {(4 * word, 4 * word + 3) for word in range(length)}
        for before, after in itertools.pairwise(own):
            assert before[-OVERLAP:] == after[:OVERLAP]


def test_each_window_of_a_pair_stands_behind_the_whole_first_text(tokenizer: WindowTokenizer) -> None:
    windows = tokenizer.pairs(["cafe"], ["red " * 6], "question")
    assert len(windows) > 1
    assert all(window.ids[:3] == [1, 4, 2] for window in windows)
    assert windows[0].segments == [0, 0, 0, 1, 1, 1, 1, 1]
    assert windows[0].in_text == [False, False, False, True, True, True, True, False]
    assert {place for window in windows for place in places(window)} == {(4 * n, 4 * n + 3) for n in range(6)}


def test_a_first_text_that_leaves_no_room_is_refused_with_its_limit(tokenizer: WindowTokenizer) -> None:
    with pytest.raises(InvalidInput, match=r"`question`\[1\] has 3 tokens, the limit is 2: shorten it"):
        tokenizer.pairs(["red red", "red red red"], ["red", "red"], "question")


def test_an_overlap_that_no_window_holds_is_a_fault_of_the_configuration(file: Path) -> None:
    with pytest.raises(ModelConfigError, match="`overlap` is 6, but a window of 8 has room for 6 tokens"):
        WindowTokenizer(file, MAX_TOKENS, 6)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing: run `conch build`"):
        WindowTokenizer(tmp_path / "tokenizer.json", MAX_TOKENS, OVERLAP)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelConfigError, match="is not a tokenizer"):
        WindowTokenizer(tmp_path / "tokenizer.json", MAX_TOKENS, OVERLAP)
