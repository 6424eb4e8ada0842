"""Zero-shot by similarity: a text's labels are ranked by how near their hypotheses lie to it in an embedding space.

One row for the model a text and one a label, however many texts there are, and labels that come again are remembered.
The embedding pipeline may be loaded anew with other weights while this step runs; so every request that relies on
remembered vectors embeds one of them again, and when it is no longer what it was, all of them are forgotten.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS
from conch_steps.class_labels import softmax
from conch_steps.errors import InvalidInput
from conch_steps.parameters import REQUEST_PARAMETERS, CalledModel, Declaration, Parameter, named, whole_number
from conch_steps.text_embedder import EMBEDDING, TEXT, Vector
from conch_steps.zero_shot import LABELS_OF_A_TEXT, TEMPLATE, Question, ranked, require_rows

Embed: TypeAlias = Callable[[Sequence[str]], Mapping[str, Vector]]
"""Texts to the embedding [dim] of each, however many: conch_steps.text_embedder."""

DEFAULT_SCALE = "20"
CACHED_LABELS = 4096
SAME_VECTOR = 1e-3
"""Batches of other shapes move an embedding's numbers by 1e-6; other weights move them by far more."""
SMALLEST_NORM = 1e-12


def _scale(text: str) -> float:
    scale = float(text)
    if not 0 < scale < math.inf:
        raise ValueError(text)
    return scale


SCALE = Parameter("scale", "a number above zero", _scale, DEFAULT_SCALE)
"""What cosines are multiplied by before softmax."""
REMEMBERED = whole_number("cached_labels", CACHED_LABELS)
PIPELINE = named("embedding", "the name of the pipeline that embeds", optional=True)
"""Whoever gives none has a model of natural-language inference: conch_steps.zero_shot_entailment."""
DECLARED = Declaration(
    (PIPELINE, MAX_ROWS, TEMPLATE, LABELS_OF_A_TEXT, SCALE, REMEMBERED),
    calls=(CalledModel(PIPELINE, MAX_ROWS, {TEXT: "TYPE_STRING"}, EMBEDDING),),
    depends_on=(REQUEST_PARAMETERS,),
)


class SimilarityRanking:
    """Ranks labels by softmax(scale x cosine similarity). Safe to call from several threads."""

    def __init__(self, embed: Embed, scale: float, cached_labels: int = CACHED_LABELS) -> None:
        self._embed = embed
        self._scale = scale
        self._cached_labels = cached_labels
        self._cache: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, question: Question) -> dict[str, npt.NDArray[Any]]:
        """`label` BYTES [n, k] and `score` FP32 [n, k], best first.

        Raises InvalidInput for `multi_label`: similarities say which label is nearest, not whether one is true.
        """
        if question.multi_label:
            raise InvalidInput(
                "parameter `multi_label` needs a model of natural-language inference: "
                "similarity ranks labels against each other and cannot tell whether one alone is true"
            )
        hypotheses = list(dict.fromkeys(each for row in question.hypotheses for each in row))
        require_rows(len(question.texts) + len(hypotheses))
        texts, vectors = self._vectors(question.texts, hypotheses)
        cosines = np.stack(
            [
                np.stack([vectors[each] for each in row]) @ text
                for text, row in zip(texts, question.hypotheses, strict=True)
            ]
        )
        return ranked(question.labels, softmax(np.float32(self._scale) * cosines))

    def _vectors(self, texts: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[Vector], dict[str, Vector]]:
        """Unit vectors of the texts, in order, and of each hypothesis."""
        known = self._remembered(hypotheses)
        missing = [each for each in hypotheses if each not in known]
        probe = [next(iter(known))] if known else []
        asked = [*texts, *missing, *probe]
        vectors = {text: _unit(vector) for text, vector in self._embed(asked).items()}
        if probe and not _same(vectors[probe[0]], known[probe[0]]):
            with self._lock:
                self._cache.clear()
            return self._vectors(texts, hypotheses)
        fresh = {each: vectors[each] for each in missing}
        self._remember(fresh)
        return [vectors[each] for each in texts], {**known, **fresh}

    def _remembered(self, hypotheses: Sequence[str]) -> dict[str, Vector]:
        with self._lock:
            known = {each: self._cache[each] for each in hypotheses if each in self._cache}
            for each in known:
                self._cache.move_to_end(each)
        return known

    def _remember(self, fresh: dict[str, Vector]) -> None:
        with self._lock:
            self._cache.update(fresh)
            while len(self._cache) > self._cached_labels:
                self._cache.popitem(last=False)


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), SMALLEST_NORM), dtype=np.float32)


def _same(one: Vector, other: Vector) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() < SAME_VECTOR)
