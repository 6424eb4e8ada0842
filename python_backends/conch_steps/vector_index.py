"""The nearest vectors of many that come and go: a usearch graph, and an exact look where that is cheaper or surer.

Up to EXACT_UP_TO candidates are compared one by one, which is exact and takes a millisecond; so is every search whose
filter leaves no more than that. Beyond it the graph proposes and candidates that the filter refuses are made up for by
asking for more; when that does not suffice, all that the filter leaves are compared. A filter never loses a result.
Scores are computed from the vectors themselves either way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from usearch.index import Index

from conch_steps.text_embedder import Vector

EXACT_UP_TO = 2000
OVERFETCH = (4, 16, 64)
"""So many times the wanted number are asked from the graph, one after the other."""
EXPANSION = 256
"""How widely the graph is searched: usearch's default is 64, wider finds more of the true nearest."""
REMOVED_BEFORE_REBUILD = 1000
"""Removed vectors stay in the graph as dead ends; when they outnumber the live ones, and this, it is built anew."""


class VectorIndex:
    """Vectors of length one by id; `nearest` ranks by cosine. One thread at a time."""

    def __init__(self, dimensions: int, exact_up_to: int = EXACT_UP_TO) -> None:
        self._dimensions = dimensions
        self._exact_up_to = exact_up_to
        self._keys: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._next_key = 0
        self._removed = 0
        self._graph = self._new_graph()

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, ids: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Add vectors [n, dimensions], or replace those of ids that are there."""
        self.drop(ids)
        keys = range(self._next_key, self._next_key + len(ids))
        self._next_key += len(ids)
        self._keys.update(zip(ids, keys, strict=True))
        self._ids.update(zip(keys, ids, strict=True))
        if ids:
            # One thread: the same vectors in the same order give the same graph, and leave the cores to the models.
            self._graph.add(np.array(keys, dtype=np.uint64), vectors, threads=1)

    def drop(self, ids: Sequence[str]) -> None:
        """Remove ids; those that are not there are passed over."""
        gone = [self._keys.pop(name) for name in ids if name in self._keys]
        for key in gone:
            del self._ids[key]
            self._graph.remove(key)
        self._removed += len(gone)
        if self._removed > max(REMOVED_BEFORE_REBUILD, len(self._keys)):
            self._rebuild()

    def vectors(self, ids: Collection[str]) -> npt.NDArray[np.float32]:
        """[n, dimensions] of ids that are there."""
        if not ids:
            return np.empty((0, self._dimensions), dtype=np.float32)
        keys = np.array([self._keys[name] for name in ids], dtype=np.uint64)
        return np.asarray(self._graph.get(keys), dtype=np.float32)

    def nearest(self, vector: Vector, count: int, among: Collection[str] | None = None) -> list[tuple[str, float]]:
        """At most `count` ids with their cosine, best first, equal ones by id; only those `among`, where given."""
        candidates = self._keys.keys() if among is None else among
        if len(candidates) <= self._exact_up_to:
            return self._ranked(vector, list(candidates), count)
        allowed = None if among is None else frozenset(among)
        for factor in OVERFETCH:
            keys = self._graph.search(vector, min(len(self), factor * count)).keys
            found = [self._ids[int(key)] for key in keys if int(key) in self._ids]
            hits = found if allowed is None else [name for name in found if name in allowed]
            if len(hits) >= count:
                return self._ranked(vector, hits, count)
        return self._ranked(vector, list(candidates), count)

    def _ranked(self, vector: Vector, ids: list[str], count: int) -> list[tuple[str, float]]:
        scores = self.vectors(ids) @ vector
        pairs = sorted(zip(ids, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        return pairs[:count]

    def _rebuild(self) -> None:
        ids = list(self._keys)
        vectors = self.vectors(ids)
        self._keys, self._ids, self._next_key, self._removed = {}, {}, 0, 0
        self._graph = self._new_graph()
        self.put(ids, vectors)

    def _new_graph(self) -> Index:
        return Index(ndim=self._dimensions, metric="ip", dtype="f32", expansion_search=EXPANSION)
