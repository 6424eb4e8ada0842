"""What may stand where a text has a mask: the likeliest tokens, as transformers' fill-mask pipeline names them.

The model is asked a row for every mask: the whole text, and in `segments` a 1 at the mask that is meant. It answers
with the logits of that place alone; those of every token would be as many numbers as the text has tokens, times the
vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS
from conch_steps.class_labels import softmax
from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.json_artifacts import read_artifact
from conch_steps.parameters import (
    REQUEST_PARAMETERS,
    SEGMENT_TENSORS,
    TOKEN_TENSORS,
    CalledModel,
    Declaration,
    named,
    wished_number,
)
from conch_steps.serving import StepModel, StepRequest
from conch_steps.text_tokenizer import TOKENIZER_FILE, read_tokenizer
from conch_steps.texts import TEXT_BYTES, read_texts
from conch_steps.windows import MAX_TOKENS

MASK_FILE = "mask.json"
TOP_K = 5
MOST_FILLS = 100
"""The largest `top_k`: each one is a text to write."""
MAX_MASKS = 256
"""Rows for the model that one request may become; each one's answer is as large as the vocabulary."""
SCORE_DIGITS = 8
CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""Where transformers takes the spaces out of a text that a tokenizer of words has written, in this order."""

VocabularyLogits = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], Sequence[npt.NDArray[np.float32]]]
"""The model: rows of token ids, and of a 1 at the token that is asked for, to logits [vocabulary] a row."""


@dataclass(frozen=True)
class MaskTokens:
    """What a tokenizer's owner knows beside tokenizer.json, as mask.json has it."""

    mask: int
    """Id of the token that stands for what is missing."""
    padding: int | None
    """Id of a token that no text shows."""
    cleans_up: bool
    """Whether spaces before punctuation are taken out of what the tokenizer writes."""

    @classmethod
    def read(cls, path: Path) -> MaskTokens:
        """Raises ArtifactError or ModelConfigError."""
        return read_artifact(path, cls)


MODEL = named("model", "the name of the masked language model to call")
DECLARED = Declaration(
    (MODEL, MAX_ROWS, MAX_TOKENS, TEXT_BYTES),
    {
        TOKENIZER_FILE: lambda model: read_tokenizer(model.version_folder / TOKENIZER_FILE),
        MASK_FILE: lambda model: MaskTokens.read(model.version_folder / MASK_FILE),
    },
    (CalledModel(MODEL, MAX_ROWS, {**TOKEN_TENSORS, **SEGMENT_TENSORS}, "logits"),),
    depends_on=(REQUEST_PARAMETERS,),
)


class MaskFiller:
    """Answers requests with a tokenizer and a model that is asked for logits."""

    def __init__(self, model: StepModel, logits: VocabularyLogits) -> None:
        self._tokenizer = read_tokenizer(model.version_folder / TOKENIZER_FILE)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokens = MaskTokens.read(model.version_folder / MASK_FILE)
        self._max_tokens = MAX_TOKENS.of(model)
        self._max_text_bytes = TEXT_BYTES.of(model)
        self._logits = logits

    def fill(self, request: StepRequest) -> dict[str, npt.NDArray[Any]]:
        """`fills` BYTES [n, 1] for `text` BYTES [n, 1]: each a JSON list of what may stand at the text's mask,
        likeliest first; of several masks, a list of such lists.

        Raises InvalidInput for what cannot be answered, WrongAnswer when the model gives no scores.
        """
        top_k = wished_number("top_k", request.parameters.get("top_k", TOP_K), MOST_FILLS)
        texts = read_texts(request.tensor("text"), "text", self._max_text_bytes)
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        places = [self._masks(index, ids) for index, ids in enumerate(rows)]
        asked = [(ids, place) for ids, mine in zip(rows, places, strict=True) for place in mine]
        if len(asked) > MAX_MASKS:
            raise InvalidInput(
                f"the texts of this request have {len(asked)} masks, the limit is {MAX_MASKS}: "
                "send them in several requests"
            )
        marks = [[int(each == place) for each in range(len(ids))] for ids, place in asked]
        logits = iter(self._logits([ids for ids, _ in asked], marks))
        answers = [
            [self._fills(ids, place, next(logits), top_k, len(mine) > 1) for place in mine]
            for ids, mine in zip(rows, places, strict=True)
        ]
        said = [[_as_json(mine[0] if len(mine) == 1 else mine)] for mine in answers]
        return {"fills": np.array(said, dtype=np.object_)}

    def _masks(self, index: int, ids: Sequence[int]) -> list[int]:
        if len(ids) > self._max_tokens:
            raise InvalidInput(f"`text`[{index}] has {len(ids)} tokens, the limit is {self._max_tokens}: shorten it")
        places = [place for place, token in enumerate(ids) if token == self._tokens.mask]
        if not places:
            mask = self._tokenizer.id_to_token(self._tokens.mask)
            raise InvalidInput(f"`text`[{index}] has no {mask}: write it where a word is missing")
        return places

    def _fills(
        self, ids: Sequence[int], place: int, logits: npt.NDArray[np.float32], top_k: int, one_of_several: bool
    ) -> list[dict[str, Any]]:
        """The likeliest tokens for one mask. Special tokens are shown where another mask is among them."""
        with np.errstate(invalid="ignore"):
            scores = softmax(logits[None])[0]
        if np.isnan(scores).any():
            raise WrongAnswer("the model's logits give no scores (NaN): it overflowed, or its file is damaged")
        return [
            {
                "token": self._written([token]),
                "score": round(float(scores[token]), SCORE_DIGITS),
                "text": self._written(
                    [each for each in (*ids[:place], token, *ids[place + 1 :]) if each != self._tokens.padding],
                    without_special=not one_of_several,
                ),
            }
            for token in _likeliest(scores, top_k)
        ]

    def _written(self, ids: Sequence[int], without_special: bool = False) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=without_special)
        if self._tokens.cleans_up:
            for spaced in CLEANED:
                text = text.replace(spaced, spaced.strip())
        return text


def _likeliest(scores: npt.NDArray[np.float32], count: int) -> list[int]:
    """The tokens with the highest scores, best first; of equal ones the first in the vocabulary. To sort all of a large
    vocabulary would take longer than the model does."""
    some = np.argpartition(-scores, count)[:count] if count < scores.size else np.arange(scores.size)
    best: list[int] = some[np.lexsort((some, -scores[some]))].tolist()
    return best


def _as_json(fills: object) -> bytes:
    return json.dumps(fills, ensure_ascii=False).encode()
