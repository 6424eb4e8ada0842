"""The index against exact search in numpy, while vectors come and go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch_steps.vector_index import VectorIndex

DIMENSIONS = 16
Vectors = npt.NDArray[np.float32]


def directions(count: int, seed: int = 3) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSIONS))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def names(count: int) -> list[str]:
    return [f"item-{number:05}" for number in range(count)]


def exact(vectors: Vectors, vector: Vectors, count: int) -> list[str]:
    return [f"item-{row:05}" for row in np.argsort(-(vectors @ vector), kind="stable")[:count]]


def index_of(vectors: Vectors, exact_up_to: int = 2000) -> VectorIndex:
    index = VectorIndex(DIMENSIONS, exact_up_to)
    index.put(names(len(vectors)), vectors)
    return index


def test_the_graph_finds_nearly_all_of_the_nearest() -> None:
    vectors = directions(3000)
    index = index_of(vectors, exact_up_to=1)
    shares = [
        len({name for name, _ in index.nearest(vector, 10)} & set(exact(vectors, vector, 10))) / 10
        for vector in directions(50, seed=5)
    ]
    assert np.mean(shares) > 0.95


def test_up_to_the_limit_the_nearest_are_those_of_exact_search() -> None:
    vectors = directions(500)
    index = index_of(vectors)
    for vector in directions(20, seed=5):
        found = index.nearest(vector, 10)
        assert [name for name, _ in found] == exact(vectors, vector, 10)
        np.testing.assert_allclose([score for _, score in found], np.sort(vectors @ vector)[::-1][:10], atol=1e-6)


@pytest.mark.parametrize("exact_up_to", [2000, 1], ids=["compared one by one", "by the graph"])
def test_a_filter_that_leaves_only_far_ones_loses_none_of_them(exact_up_to: int) -> None:
    vectors = directions(2000)
    index = index_of(vectors, exact_up_to)
    (vector,) = directions(1, seed=9)
    farthest = [names(2000)[row] for row in np.argsort(vectors @ vector)[:7]]
    assert [name for name, _ in index.nearest(vector, 5, farthest)] == farthest[::-1][:5]
    assert len(index.nearest(vector, 50, farthest)) == 7
    assert index.nearest(vector, 5, []) == []


def test_equal_vectors_come_in_the_order_of_their_ids() -> None:
    index = VectorIndex(DIMENSIONS)
    (vector,) = directions(1)
    index.put(["pear", "apple", "fig"], np.stack([vector] * 3))
    assert [name for name, _ in index.nearest(vector, 3)] == ["apple", "fig", "pear"]


def test_a_replaced_vector_is_found_where_it_is_now() -> None:
    index = index_of(directions(50), exact_up_to=1)
    (vector,) = directions(1, seed=8)
    index.put(["item-00007"], vector[None])
    assert len(index) == 50
    assert index.nearest(vector, 1)[0][0] == "item-00007"
    np.testing.assert_array_equal(index.vectors(["item-00007"]), vector[None])


def test_more_than_there_are_gives_all() -> None:
    index = index_of(directions(3))
    assert len(index.nearest(directions(1)[0], 100)) == 3
    assert VectorIndex(DIMENSIONS).nearest(directions(1)[0], 5) == []


def test_after_most_vectors_have_gone_the_graph_still_finds_the_nearest() -> None:
    vectors = directions(3000)
    index = index_of(vectors, exact_up_to=1)
    index.drop(names(3000)[:2500])
    rest = vectors[2500:]
    for vector in directions(10, seed=6):
        best = 2500 + int(np.argmax(rest @ vector))
        assert index.nearest(vector, 1)[0][0] == f"item-{best:05}"


@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 30), min_size=1)), max_size=12), st.integers(0, 99))
def test_whatever_comes_and_goes_the_index_holds_what_a_dict_would(
    moves: list[tuple[bool, set[int]]], seed: int
) -> None:
    index, held = VectorIndex(DIMENSIONS, exact_up_to=1), dict[str, Vectors]()
    for turn, (adds, rows) in enumerate(moves):
        chosen = [f"item-{row:05}" for row in sorted(rows)]
        if adds:
            vectors = directions(len(chosen), seed=seed + turn)
            index.put(chosen, vectors)
            held.update(zip(chosen, vectors, strict=True))
        else:
            index.drop(chosen)
            for name in chosen:
                held.pop(name, None)
    assert len(index) == len(held)
    (vector,) = directions(1, seed=seed)
    expected = sorted(held, key=lambda name: (-float(held[name] @ vector), name))
    found = [name for name, _ in index.nearest(vector, 40)]
    assert sorted(found) == sorted(expected)
    assert found[:1] == expected[:1]
