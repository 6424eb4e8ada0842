"""Two tensors, compared by hand."""

import math

import numpy as np

from conch_tools.likeness import Array
from conch_tools.xray.difference import difference


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def test_the_worst_number_counts_and_its_place_is_told() -> None:
    found = difference(np.array([[1.0, 2.0]]), np.array([[1.0, 2.5]]), 0.1)
    assert (found.worst, found.beyond) == (0.5, True)
    assert found.words == "worst difference 0.5, at [0, 1]: 2 against 2.5"
    assert not difference(np.array([1.0]), np.array([1.05]), 0.1).beyond


def test_whole_numbers_and_unsigned_ones_do_not_wrap_around() -> None:
    assert difference(np.array([0], dtype=np.uint8), np.array([255], dtype=np.uint8), 1).worst == 255


def test_nan_equals_nan_and_nothing_else() -> None:
    nan, inf = np.array([np.nan, np.inf]), np.array([np.nan, -np.inf])
    assert difference(nan, nan.copy(), 0.0).words == "equal"
    assert difference(nan, inf, 1e9).worst == math.inf
    assert difference(np.array([np.nan]), np.array([0.0]), 1e9).beyond


def test_another_shape_is_a_difference() -> None:
    assert difference(np.zeros((1, 2)), np.zeros((2, 1)), 1.0).words == "shape [1, 2] against [2, 1]"
    assert not difference(np.zeros((0, 2)), np.zeros((0, 2)), 0.0).beyond


def test_texts_are_equal_or_not_but_numbers_in_json_may_be_near() -> None:
    assert difference(texts("a", "b"), texts("a", "c"), 1.0).words == "'b' against 'c'"
    one, other = '[{"text": "a", "score": 0.5}]', '[{"text": "a", "score": 0.51}]'
    assert not difference(texts(one), texts(other), 0.1).beyond
    assert difference(texts(one), texts(other), 0.001).beyond
    assert difference(texts('{"a": 1.0}'), texts('{"b": 1.0}'), 9.0).beyond
    assert difference(texts("[" * 100_000), texts("[" * 100_001), 9.0).beyond
    assert difference(texts('{"a": 0.5, "b": NaN}'), texts('{"a": 0.5, "b": 0.9}'), 9.0).beyond


def test_of_several_texts_the_worst_is_told() -> None:
    found = difference(texts("[0.5]", "[0.5]", "a"), texts("[0.75]", "[0.5]", "b"), 0.1)
    assert found.words == "'a' against 'b'"
    assert difference(texts("[0.5]", "[0.5]"), texts("[0.75]", "[0.5]"), 0.5).words == "worst difference 2.5e-01"


def test_whole_numbers_that_no_float_tells_apart_differ() -> None:
    assert difference(np.array([2**53]), np.array([2**53 + 1]), 0.5).beyond


def test_another_kind_is_a_difference_whatever_the_values() -> None:
    assert difference(np.array([1]), np.array([True]), 9.0).words == "whole numbers against truth values"
    assert difference(texts("1"), np.array([1]), 9.0).words == "texts against whole numbers"
