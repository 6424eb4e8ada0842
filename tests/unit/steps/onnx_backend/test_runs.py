"""Batches are cut into runs of like length where that saves more padding than another call costs."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from conch_steps.onnx_backend.runs import CALL_ELEMENTS, like_length_runs

PIECES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=7)


def cost(runs: list[list[int]], lengths: list[int], rows: list[int]) -> int:
    return sum(sum(rows[index] for index in run) * max(lengths[index] for index in run) + CALL_ELEMENTS for run in runs)


def partitions(indices: list[int]) -> Iterator[list[list[int]]]:
    if not indices:
        yield []
        return
    first, rest = indices[0], indices[1:]
    for smaller in partitions(rest):
        yield [[first], *smaller]
        for position, run in enumerate(smaller):
            yield [*smaller[:position], [first, *run], *smaller[position + 1 :]]


def test_equal_lengths_share_one_call() -> None:
    assert like_length_runs([5, 5, 5], [1, 2, 1]) == [[0, 1, 2]]


def test_little_padding_is_cheaper_than_another_call() -> None:
    assert like_length_runs([10, 11], [1, 1]) == [[0, 1]]


def test_much_padding_is_not() -> None:
    assert like_length_runs([60, 6, 58, 7], [1, 1, 1, 1]) == [[1, 3], [2, 0]]


def test_rows_weigh() -> None:
    assert like_length_runs([10, 13], [1, 1]) == [[0, 1]]
    assert like_length_runs([10, 13], [9, 1]) == [[0], [1]]


def test_nothing_needs_no_call() -> None:
    assert like_length_runs([], []) == []


@given(PIECES)
def test_every_piece_is_in_exactly_one_run(pieces: list[tuple[int, int]]) -> None:
    lengths, rows = [length for length, _ in pieces], [count for _, count in pieces]
    runs = like_length_runs(lengths, rows)
    assert sorted(index for run in runs for index in run) == list(range(len(pieces)))


@given(PIECES)
def test_no_other_cut_is_cheaper(pieces: list[tuple[int, int]]) -> None:
    lengths, rows = [length for length, _ in pieces], [count for _, count in pieces]
    cheapest = min(cost(runs, lengths, rows) for runs in partitions(list(range(len(pieces)))))
    assert cost(like_length_runs(lengths, rows), lengths, rows) == cheapest
