"""Searching a catalogue: the items in memory, kept level with the database, ranked by meaning within a filter.

"More like this" is the item's own vector. "For someone who liked these" is the mean of what was liked, moved away from
the mean of what was not. Neither needs the encoder; words do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS
from conch_steps.catalogue import NAME, STATE, Catalogue, Row
from conch_steps.catalogue_items import Item
from conch_steps.catalogue_seed import SEED_FILES
from conch_steps.errors import InvalidInput
from conch_steps.parameters import Declaration, whole_number
from conch_steps.retrieval_query import Filter, Question
from conch_steps.text_embedder import CALL, MODEL, Vector
from conch_steps.vector_index import EXACT_UP_TO, VectorIndex

Embed = Callable[[Sequence[str]], Mapping[str, Vector]]

DISLIKE_WEIGHT = 0.5
"""How far dislikes push: they say less about a taste than likes do."""
SCORE_DIGITS = 6
NO_DIRECTION = 1e-6
EXACT = whole_number("exact_up_to", EXACT_UP_TO)
_DEPENDS_ON = ("the catalogue, which changes",)
CHANGES_DECLARED = Declaration((NAME, STATE, MODEL, MAX_ROWS), SEED_FILES, (CALL,), depends_on=_DEPENDS_ON)
SEARCH_DECLARED = Declaration((*CHANGES_DECLARED.parameters, EXACT), SEED_FILES, (CALL,), depends_on=_DEPENDS_ON)


class Retrieval:
    """Answers questions about one catalogue. One thread at a time."""

    def __init__(self, catalogue: Catalogue, embed: Embed, dimensions: int, exact_up_to: int = EXACT_UP_TO) -> None:
        self._catalogue = catalogue
        self._embed = embed
        self._items: dict[str, Item] = {}
        self._index = VectorIndex(dimensions, exact_up_to)
        self._revision = 0

    def answer(self, asked: Sequence[Sequence[Question] | Exception]) -> list[npt.NDArray[np.object_] | Exception]:
        """`results` BYTES [n, 1] for each request of n questions, or what went wrong with it.

        The words of all requests are embedded in one call; when that fails, it fails those that have words. Without
        the database all fail that were not refused already.
        """
        try:
            self.catch_up()
        except Exception as problem:
            return [request if isinstance(request, Exception) else problem for request in asked]
        questions = [question for request in asked if not isinstance(request, Exception) for question in request]
        vectors: Mapping[str, Vector] = {}
        failure: Exception | None = None
        try:
            vectors = self._embed([question.text for question in questions if question.text is not None])
        except Exception as problem:
            failure = problem
        return [self._answer_request(request, vectors, failure) for request in asked]

    def catch_up(self) -> None:
        """Apply what has changed in the database since the last time."""
        if self._catalogue.revision() == self._revision:
            return
        newest, rows = self._catalogue.newer_than(self._revision)
        live = {row.id: row for row in rows if row.item is not None}
        known = self._with_vectors(list(live.values()))
        self._index.drop([row.id for row in rows if row.item is None])
        self._index.put(list(known), np.array(list(known.values()), dtype=np.float32))
        for row in rows:
            if row.item is None:
                self._items.pop(row.id, None)
            else:
                self._items[row.id] = row.item
        self._revision = newest

    def _with_vectors(self, rows: Sequence[Row]) -> dict[str, Vector]:
        """Rows whose vectors another encoder made have none: they are embedded now, and kept."""
        waiting = [row for row in rows if row.vector is None]
        vectors = {row.id: row.vector for row in rows if row.vector is not None}
        if waiting:
            texts = {row.id: row.item.embedded_text for row in waiting if row.item is not None}
            fresh = self._embed(list(texts.values()))
            vectors |= {name: fresh[text] for name, text in texts.items()}
            self._catalogue.keep_vectors(waiting, vectors)
        return vectors

    def _answer_request(
        self, request: Sequence[Question] | Exception, vectors: Mapping[str, Vector], failure: Exception | None
    ) -> npt.NDArray[np.object_] | Exception:
        if isinstance(request, Exception):
            return request
        if failure is not None and any(question.text is not None for question in request):
            return failure
        try:
            answers = [self._results(question, vectors) for question in request]
        except Exception as problem:
            return problem
        return np.array([json.dumps(each, ensure_ascii=False).encode() for each in answers], np.object_).reshape(-1, 1)

    def _results(self, question: Question, vectors: Mapping[str, Vector]) -> list[dict[str, Any]]:
        direction = vectors[question.text] if question.text is not None else self._direction(question)
        named = set(question.named)
        if question.filter == Filter():
            found = self._index.nearest(direction, question.k + len(named))
        else:
            among = [name for name, item in self._items.items() if question.filter.accepts(item)]
            found = self._index.nearest(direction, question.k + len(named), among)
        hits = [(name, score) for name, score in found if name not in named]
        return [self._hit(name, score) for name, score in hits[: question.k]]

    def _direction(self, question: Question) -> Vector:
        for name in question.named:
            if name not in self._items:
                raise InvalidInput(f"`query`: there is no item `{name}` in the catalogue")
        likes = (question.item,) if question.item is not None else question.liked or ()
        return taste(self._index.vectors(likes), self._index.vectors(question.disliked))

    def _hit(self, name: str, score: float) -> dict[str, Any]:
        return {"id": name, "score": round(score, SCORE_DIGITS), "item": self._items[name].model_dump(exclude={"id"})}


def taste(liked: npt.NDArray[np.float32], disliked: npt.NDArray[np.float32]) -> Vector:
    """Where to look, [dimensions] of length one, for vectors [n, dimensions].

    Raises InvalidInput when they cancel out.
    """
    direction = liked.mean(axis=0)
    if len(disliked):
        direction = direction - DISLIKE_WEIGHT * disliked.mean(axis=0)
    length = float(np.linalg.norm(direction))
    if length < NO_DIRECTION:
        raise InvalidInput("`query`: what is liked and disliked cancels out, so nothing is nearest")
    return np.asarray(direction / length, dtype=np.float32)
