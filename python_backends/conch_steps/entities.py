"""Token logits to named entities: type, score and place in the text, by the rules of transformers' pipeline.

A model of token classification says of each token whether an entity of some type begins (`B-person`) or goes on
(`I-person`) there. Which tokens make a word, and what a word's tokens say together, is the aggregation strategy; a
caller who comes from `transformers.pipeline("token-classification")` finds the same five under the same names, and the
same entities. Long texts come in overlapping windows; of two entities that overlap the longer one counts, then the
surer one. Places are characters of the text as it was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS
from conch_steps.class_labels import LABELS_FILE, labels_of
from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.parameters import TOKEN_TENSORS, CalledModel, Declaration, Parameter, named
from conch_steps.text_tokenizer import TOKENIZER_FILE
from conch_steps.texts import MAX_TEXT_BYTES, TEXT_BYTES, read_texts
from conch_steps.windows import MAX_TOKENS, OVERLAP, Window, WindowTokenizer

Scores = npt.NDArray[np.float32]
Strategy = Literal["none", "simple", "first", "average", "max"]
"""`none` gives each token by itself. `simple` joins neighbours of one type. The others do so with whole words, which
have the label of their first token (`first`), of their surest (`max`) or the best on average (`average`)."""
TokenLogits = Callable[[Sequence[Sequence[int]]], Sequence[Scores]]
"""Rows of token ids to their logits [L or more, labels]."""

OUTSIDE = "O"
SCORE_DIGITS = 6


@dataclass(frozen=True)
class Entity:
    """Characters `start` up to `end` of a text, what they name and how sure that is."""

    type: str
    score: float
    start: int
    end: int

    def described(self, text: str) -> dict[str, Any]:
        """The entity as it travels in JSON."""
        return {
            "type": self.type,
            "score": round(self.score, SCORE_DIGITS),
            "text": text[self.start : self.end],
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True)
class _Token:
    """A token, or the tokens of a word together."""

    scores: Scores
    """One a label."""
    start: int
    end: int
    continues: bool
    """Whether it belongs to the word of the token before."""


@dataclass(frozen=True)
class WordRule:
    """Which tokens continue a word, as far as a tokenizer tells."""

    unknown: str | None
    """The token of what the vocabulary lacks: a word by itself."""
    prefixed: bool
    """Whether the tokenizer marks what continues a word, as WordPiece does by `##`."""

    @classmethod
    def read(cls, tokenizer_file: Path) -> WordRule:
        """From tokenizer.json. Raises ArtifactError or ModelConfigError."""
        try:
            model = json.loads(tokenizer_file.read_bytes())["model"]
            unknown = model.get("unk_token")
            if model.get("unk_id") is not None:
                unknown = model["vocab"][model["unk_id"]][0]
        except FileNotFoundError as problem:
            raise ArtifactError(f"{tokenizer_file} is missing: run `conch build`") from problem
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
            raise ModelConfigError(f"{tokenizer_file} is not a tokenizer: {problem}") from problem
        return cls(unknown, bool(model.get("continuing_subword_prefix")))

    def continues(self, token: str, text: str, start: int, end: int) -> bool:
        """Whether the token at these characters of the text belongs to the word of the one before."""
        if token == self.unknown:
            return False
        if self.prefixed:
            return len(token) != end - start
        return start > 0 and " " not in text[start - 1 : start + 1]


class EntityReader:
    """Finds the entities of texts with a model of token classification."""

    def __init__(
        self,
        windows: WindowTokenizer,
        words: WordRule,
        labels: Sequence[str],
        strategy: Strategy,
        max_text_bytes: int = MAX_TEXT_BYTES,
    ) -> None:
        self._windows = windows
        self._words = words
        self._labels = labels
        self._strategy = strategy
        self._max_text_bytes = max_text_bytes

    def read(
        self, texts: npt.NDArray[np.object_], wish: object, logits_of: TokenLogits
    ) -> dict[str, npt.NDArray[np.object_]]:
        """`entities` BYTES [n, 1] of `texts` BYTES [n, 1]: of each text a JSON list in the order of the text.

        `wish` is the caller's strategy, or None. Raises InvalidInput for a strategy that there is not and for texts
        that are too long or not UTF-8, WrongAnswer for logits that give no scores.
        """
        strategy = self._strategy if wish is None else strategy_named(wish)
        given = read_texts(texts, "text", self._max_text_bytes)
        windows = self._windows.single(given)
        found: list[list[list[Entity]]] = [[] for _ in given]
        for window, logits in zip(windows, logits_of([window.ids for window in windows]), strict=True):
            found[window.owner].append(self._entities(given[window.owner], window, logits, strategy))
        answers = [
            [entity.described(text) for entity in joined(windows_of_text)]
            for text, windows_of_text in zip(given, found, strict=True)
        ]
        rows = [[json.dumps(answer, ensure_ascii=False).encode()] for answer in answers]
        return {"entities": np.array(rows, dtype=np.object_)}

    def _entities(self, text: str, window: Window, logits: Scores, strategy: Strategy) -> list[Entity]:
        """Of one window; `logits` may have more rows than it has tokens."""
        tokens = self._tokens(text, window, self._softmax(logits[: len(window.ids)]))
        if strategy not in ("none", "simple"):
            tokens = [_word(word, strategy) for word in _words(tokens)]
        labelled = [(self._labels[int(token.scores.argmax())], token) for token in tokens]
        if strategy == "none":
            found = [Entity(label, float(token.scores.max()), token.start, token.end) for label, token in labelled]
        else:
            found = [_group(group) for group in _groups(labelled)]
        return [entity for entity in found if entity.type != OUTSIDE]

    def _tokens(self, text: str, window: Window, scores: Scores) -> list[_Token]:
        return [
            _Token(row, start, end, self._words.continues(token, text, start, end))
            for token, row, (start, end), inside in zip(
                map(self._windows.token, window.ids), scores, window.offsets, window.in_text, strict=True
            )
            if inside
        ]

    def _softmax(self, logits: Scores) -> Scores:
        if logits.shape[-1] != len(self._labels):
            raise ModelConfigError(
                f"the model gives {logits.shape[-1]} logits, the labels file names {len(self._labels)} labels"
            )
        with np.errstate(invalid="ignore"):
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
            scores = powers / powers.sum(axis=-1, keepdims=True)
        if np.isnan(scores).any():
            raise WrongAnswer("the model's logits give no scores (NaN): it overflowed, or its file is damaged")
        return np.asarray(scores, dtype=np.float32)


def strategy_named(name: object) -> Strategy:
    """The strategy of that name. Raises InvalidInput naming those there are."""
    if name not in get_args(Strategy):
        known = ", ".join(get_args(Strategy))
        raise InvalidInput(f"parameter `aggregation_strategy` is {name!r:.40}, but must be one of {known}")
    return cast(Strategy, name)


STRATEGY: Parameter[Strategy] = Parameter(
    "aggregation_strategy", f"one of {', '.join(get_args(Strategy))}", strategy_named, "simple"
)
MODEL = named("model", "the name of the token classifier to call")
DECLARED = Declaration(
    (MODEL, MAX_ROWS, MAX_TOKENS, OVERLAP, STRATEGY, TEXT_BYTES),
    {TOKENIZER_FILE: WindowTokenizer.load, LABELS_FILE: labels_of},
    (CalledModel(MODEL, MAX_ROWS, TOKEN_TENSORS, "logits"),),
)


def joined(windows: Sequence[Sequence[Entity]]) -> list[Entity]:
    """The entities of a text, in its order, of what its windows say; a lone window has the last word."""
    if len(windows) == 1:
        return list(windows[0])
    kept: list[Entity] = []
    for entity in sorted((each for window in windows for each in window), key=lambda each: each.start):
        if kept and kept[-1].start <= entity.start < kept[-1].end:
            kept[-1] = max(kept[-1], entity, key=lambda each: (each.end - each.start, each.score))
        else:
            kept.append(entity)
    return kept


def _words(tokens: Sequence[_Token]) -> list[list[_Token]]:
    words: list[list[_Token]] = []
    for token in tokens:
        if words and token.continues:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _word(tokens: Sequence[_Token], strategy: Strategy) -> _Token:
    """The tokens of a word as one."""
    if strategy == "first":
        scores = tokens[0].scores
    elif strategy == "max":
        scores = max(tokens, key=lambda token: float(token.scores.max())).scores
    else:
        scores = np.mean([token.scores for token in tokens], axis=0)
    return _Token(scores, tokens[0].start, tokens[-1].end, tokens[0].continues)


def _groups(labelled: Sequence[tuple[str, _Token]]) -> list[list[tuple[str, _Token]]]:
    """Neighbours of one type, cut before each beginning; what is outside of all entities is a type as well."""
    groups: list[list[tuple[str, _Token]]] = []
    for label, token in labelled:
        if groups and not label.startswith("B-") and _tag(label) == _tag(groups[-1][-1][0]):
            groups[-1].append((label, token))
        else:
            groups.append([(label, token)])
    return groups


def _group(labelled: Sequence[tuple[str, _Token]]) -> Entity:
    label, first = labelled[0]
    score = float(np.mean([token.scores.max() for _, token in labelled]))
    return Entity(label.split("-", 1)[-1], score, first.start, labelled[-1][1].end)


def _tag(label: str) -> str:
    """What joins neighbours: `person` of `B-person` and of `I-person`, a label of another form whole."""
    return label[2:] if label.startswith(("B-", "I-")) else label
