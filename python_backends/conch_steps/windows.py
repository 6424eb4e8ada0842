"""Texts of any length as overlapping windows of tokens that fit the model, with each token's place in the text.

Truncation would lose what stands behind the limit without a word. The windows overlap so that what is cut by the end of
one is whole in the next; steps that read tokens merge what both saw. Places are counted in characters of the text as
the caller sent it (Unicode code points, Python's own count), whatever the tokenizer's normalisation made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from tokenizers import Encoding

from conch_steps.errors import InvalidInput, ModelConfigError
from conch_steps.parameters import whole_number
from conch_steps.serving import StepModel
from conch_steps.text_tokenizer import TOKENIZER_FILE, read_tokenizer

MAX_TOKENS = whole_number("max_tokens", 256)
OVERLAP = whole_number("overlap", 64)


@dataclass(frozen=True)
class Window:
    """One row for the model: a piece of a text, alone or after another text such as a question."""

    owner: int
    """Index of the text in the request."""
    encoding: Encoding
    sequence: int
    """Which of the encoding's sequences is the text: 0, or 1 behind a question."""

    @property
    def ids(self) -> list[int]:
        """Token ids, special tokens included."""
        return list(self.encoding.ids)

    @property
    def segments(self) -> list[int]:
        """The segment of each id, 0 or 1."""
        return list(self.encoding.type_ids)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Of each id, first character and the one after the last; (0, 0) of special tokens."""
        return list(self.encoding.offsets)

    @cached_property
    def in_text(self) -> list[bool]:
        """Of each id, whether it belongs to the text itself."""
        return [sequence == self.sequence for sequence in self.encoding.sequence_ids]


class WindowTokenizer:
    """Cuts texts into windows of at most `max_tokens`, of which neighbours share `overlap` tokens."""

    def __init__(self, tokenizer_file: Path, max_tokens: int, overlap: int) -> None:
        self._tokenizer = read_tokenizer(tokenizer_file)
        self._tokenizer.no_padding()
        # How to truncate is a state of the tokenizer, which steps use from several threads.
        self._turn = Lock()
        self._max_tokens = max_tokens
        self._overlap = overlap
        room = max_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if not 0 <= overlap < room:
            raise ModelConfigError(f"`overlap` is {overlap}, but a window of {max_tokens} has room for {room} tokens")

    @classmethod
    def load(cls, model: StepModel) -> WindowTokenizer:
        """From the model's version folder and parameters. Raises ArtifactError or ModelConfigError."""
        return cls(model.version_folder / TOKENIZER_FILE, MAX_TOKENS.of(model), OVERLAP.of(model))

    def token(self, number: int) -> str:
        """What the vocabulary calls a token. An encoding says something else of one that it lacks: the text itself, of
        tokenizers like Unigram."""
        return self._tokenizer.id_to_token(number) or ""

    def single(self, texts: Sequence[str]) -> list[Window]:
        """The windows of each text, in order; at least one a text."""
        with self._turn:
            self._tokenizer.enable_truncation(self._max_tokens, stride=self._overlap)
            encodings = self._tokenizer.encode_batch(list(texts))
        return [
            Window(owner, piece, 0)
            for owner, encoding in enumerate(encodings)
            for piece in (encoding, *encoding.overflowing)
        ]

    def pairs(self, firsts: Sequence[str], seconds: Sequence[str], first: str) -> list[Window]:
        """The windows of each second text, each behind the whole first one, whose tensor is called `first`.

        Raises InvalidInput for a first text that leaves a window no room for more than the overlap.
        """
        special = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        with self._turn:
            self._tokenizer.no_truncation()
            lengths = [len(each) for each in self._tokenizer.encode_batch(list(firsts), add_special_tokens=False)]
        most = self._max_tokens - special - self._overlap - 1
        for index, length in enumerate(lengths):
            if length > most:
                raise InvalidInput(f"`{first}`[{index}] has {length} tokens, the limit is {most}: shorten it")
        with self._turn:
            self._tokenizer.enable_truncation(self._max_tokens, stride=self._overlap, strategy="only_second")
            encodings = self._tokenizer.encode_batch(list(zip(firsts, seconds, strict=True)))
        return [
            Window(owner, piece, 1)
            for owner, encoding in enumerate(encodings)
            for piece in (encoding, *encoding.overflowing)
        ]
