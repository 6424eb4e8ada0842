"""When two answers are the same, and how far apart they are otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conch_tools.likeness import json_in, largest_difference, numbers_apart, parted, text_of, texts_apart

INF, NAN = math.inf, math.nan


def test_equal_infinities_are_the_same_and_infinitely_far_from_all_else() -> None:
    infinite = np.array([-INF, INF, 1.0])
    assert numbers_apart(infinite, infinite.copy()).tolist() == [0.0, 0.0, 0.0]
    assert numbers_apart(infinite, np.array([INF, 1.0, -INF])).tolist() == [INF, INF, INF]


def test_nan_is_the_same_as_nan_and_infinitely_far_from_every_number() -> None:
    assert numbers_apart(np.array([NAN, NAN, 0.0]), np.array([NAN, 0.0, NAN])).tolist() == [0.0, INF, INF]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_whole_numbers_that_no_float_tells_apart_are_apart(dtype: type) -> None:
    assert largest_difference(np.array([2**53], dtype), np.array([2**53 + 1], dtype)) == 1.0
    assert largest_difference(np.array([2**53 + 1], dtype), np.array([2**53 + 1], dtype)) == 0.0


def test_whole_numbers_do_not_wrap_around() -> None:
    assert largest_difference(np.array([0], np.uint8), np.array([255], np.uint8)) == 255
    assert largest_difference(np.array([-(2**63)]), np.array([2**63 - 1])) == 2.0**64


def test_another_shape_or_kind_is_infinitely_far() -> None:
    assert largest_difference(np.zeros(3), np.zeros(4)) == INF
    assert largest_difference(np.array([1]), np.array([True])) == INF
    assert largest_difference(np.array([1]), np.array([1.0])) == INF
    assert largest_difference(np.array(["a"], dtype=object), np.array(["a"], dtype=object)) == INF
    assert largest_difference(np.array([1], np.int32), np.array([1], np.int64)) == 0.0
    assert largest_difference(np.array([True, False]), np.array([False, False])) == 1.0
    assert largest_difference(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0


def test_texts_are_the_same_or_infinitely_far() -> None:
    assert texts_apart("a", "a") == 0.0
    assert texts_apart("a", "b") == INF
    assert texts_apart("0.5", "0.51") == INF
    assert texts_apart(text_of(b"\xff"), text_of(b"\xfe")) == INF


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ('[{"a": 0.5}]', '[{"a": 0.75}]', 0.25),
        ('{"a": 0.5, "b": 1}', '{"b":1,"a":0.5}', 0.0),
        ('{"a": 0.5, "b": NaN}', '{"a": 0.5, "b": 0.9}', INF),
        ('{"b": NaN, "a": 0.5}', '{"b": 0.9, "a": 0.5}', INF),
        ("[NaN, Infinity]", "[NaN, Infinity]", 0.0),
        ("[Infinity]", "[-Infinity]", INF),
        ('{"a": 1}', '[{"a": 1}]', INF),
        ('{"a": 1}', '{"a": true}', INF),
        ('{"a": 1}', '{"a": 1.0}', INF),
        ('{"a": 1}', '{"a": 2}', INF),
        ('{"a": 0.5}', '{"a": "NaN"}', INF),
        ('{"a": 0.5}', '{"a": "a fraction"}', INF),
        ('{"a": 0.5}', '{"a": null}', INF),
        ("[0.5]", "[0.5, 0.5]", INF),
        ("[]", "{}", INF),
    ],
)
def test_json_within_texts_may_differ_in_its_fractions_alone(one: str, other: str, apart: float) -> None:
    assert texts_apart(one, other) == texts_apart(other, one) == apart


@pytest.mark.parametrize("depth", [101, 500, 990, 100_000])
def test_json_that_is_nested_too_deep_is_a_text_like_any(depth: int) -> None:
    one = "[" * depth + "]" * depth
    assert json_in(one) is None
    assert texts_apart(one, one) == 0.0
    assert texts_apart(one, one + " ") == INF


def test_what_is_read_as_json_can_be_taken_apart() -> None:
    value = json_in('{"a":' * 99 + "0.5" + "}" * 99)
    assert parted(value)[1] == [0.5]
    assert json_in("1" * 5000) is None and json_in("0.5") is None and json_in("[1, ") is None
