"""Two answers to one case, compared by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from conch_tools.likeness import Array
from conch_tools.parity.metrics import Flip, Shared, compare, cosine, ranks, vectors_in


def ranking(labels: Sequence[str], scores: Sequence[float]) -> dict[str, Any]:
    return {"label": np.array(labels, dtype=object), "score": np.array(scores, dtype=np.float32)}


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def things(value: object) -> dict[str, Any]:
    return {"entities": np.array([json.dumps(value).encode()], dtype=object)}


def entity(start: int, end: int, kind: str = "person", score: float = 0.9) -> dict[str, Any]:
    return {"type": kind, "start": start, "end": end, "score": score}


def test_another_best_label_is_a_flip_with_the_gap_of_the_expected_scores() -> None:
    case = compare(ranking(["a", "b", "c"], [0.5, 0.375, 0.125]), ranking(["b", "a", "c"], [0.5, 0.4, 0.1]))
    assert case.flip == Flip("a", "b", 0.125)
    assert case.problem(tolerance=1.0) == "`label` is b, expected is a"


def test_a_label_that_is_not_among_the_expected_has_the_whole_score_as_its_gap() -> None:
    assert compare(ranking(["a", "b"], [0.75, 0.25]), ranking(["x", "b"], [0.75, 0.25])).flip == Flip("a", "x", 0.75)


def test_labels_that_tie_to_the_last_bit_may_come_in_either_order() -> None:
    case = compare(ranking(["a", "b"], [0.5, 0.5]), ranking(["b", "a"], [0.5, 0.5]))
    assert case.problem(tolerance=1e-6) is None


def test_scores_are_compared_by_label_and_not_by_place() -> None:
    case = compare(ranking(["a", "b", "c"], [0.5, 0.25, 0.25]), ranking(["a", "c", "b"], [0.5, 0.25, 0.125]))
    assert (case.flip, case.difference) == (None, 0.125)


def test_labels_come_as_bytes_or_as_text() -> None:
    got = {"label": np.array([b"a", b"b"], dtype=object), "score": np.array([0.5, 0.25], dtype=np.float32)}
    assert compare(ranking(["a", "b"], [0.5, 0.25]), got).problem(tolerance=0.0) is None


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        (ranking(["a"], [0.75]), "`label` has 1 labels, expected are 2"),
        (ranking([], []), "`label` has 0 labels, expected are 2"),
        (ranking(["a", "x"], [0.75, 0.25]), "`label` holds x, which is not expected"),
        ({"label": np.array(["a", "b"], dtype=object)}, "`score` is missing"),
        (ranking(["a", "b"], [0.75]), "`score` differs by inf, the gate is 1e+00"),
        (ranking(["a", "b"], [np.nan, 0.25]), "`score` differs by inf, the gate is 1e+00"),
    ],
)
def test_what_else_a_ranking_may_lack(got: dict[str, Any], problem: str) -> None:
    assert compare(ranking(["a", "b"], [0.75, 0.25]), got).problem(tolerance=1.0) == problem


def test_entities_are_counted_as_shared_expected_and_got() -> None:
    case = compare(things([entity(0, 3), entity(8, 12)]), things([entity(0, 3), entity(20, 24), entity(30, 33)]))
    assert case.shared == Shared(both=1, expected=2, got=3)
    assert case.shared.f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    problem = case.problem(tolerance=1.0)
    assert problem is not None and problem.startswith('`entities` lacks {"type": "person", "start": 8')


@pytest.mark.parametrize("other", [entity(1, 3), entity(0, 4), entity(0, 3, "place")])
def test_a_span_is_the_same_only_with_both_its_ends_and_its_type(other: dict[str, Any]) -> None:
    assert compare(things([entity(0, 3)]), things([other])).shared == Shared(both=0, expected=1, got=1)


def test_the_scores_of_shared_spans_are_numbers_like_any() -> None:
    case = compare(things([entity(0, 3, score=0.5)]), things([entity(0, 3, score=0.75)]))
    assert (case.shared, case.difference) == (Shared(1, 1, 1), 0.25)


def test_nothing_found_agrees_with_nothing_found_only() -> None:
    assert compare(things([]), things([])).problem(tolerance=0.0) is None
    assert Shared().f1 == 1.0
    found = compare(things([]), things([entity(0, 3)]))
    assert found.shared is not None and found.shared.f1 == 0.0
    answer = {"text": "", "start": 0, "end": 0}
    assert compare(things([answer]), things([{**answer, "text": "Bergen"}])).shared == Shared(0, 1, 1)


def test_the_same_span_twice_is_not_once() -> None:
    case = compare(things([entity(0, 3), entity(0, 3)]), things([entity(0, 3)]))
    assert case.shared == Shared(both=1, expected=2, got=1)
    assert case.problem(tolerance=1.0) is not None


def test_another_order_is_another_answer_though_its_f1_is_one() -> None:
    case = compare(things([{"id": "a"}, {"id": "b"}]), things([{"id": "b"}, {"id": "a"}]))
    assert case.shared == Shared(2, 2, 2)
    assert case.problem(tolerance=1.0) == "`entities` holds the same in another order"


def test_numbers_deep_in_a_thing_are_compared_and_the_rest_must_be_the_same() -> None:
    shoe = {"id": "shoe", "item": {"price": 19.5, "sizes": [40, 41]}}
    near = {"id": "shoe", "item": {"price": 20.0, "sizes": [40, 41]}}
    other = {"id": "shoe", "item": {"price": 19.5, "sizes": [40, 42]}}
    assert compare(things([shoe]), things([near])).difference == 0.5
    assert compare(things([shoe]), things([other])).shared == Shared(0, 1, 1)


def test_what_is_no_json_is_another_text() -> None:
    got = {"entities": np.array([b"[1, "], dtype=object)}
    assert compare(things([entity(0, 3)]), got).problem(tolerance=1.0) is not None
    text = {"text": np.array([b"[not json"], dtype=object)}
    assert compare(text, text).problem(tolerance=0.0) is None


def test_the_token_ids_of_a_step_may_be_padded_with_zeros_and_nothing_else() -> None:
    want, padded = ({"input_ids": np.array(ids)} for ids in ([101, 7], [101, 7, 0, 0]))
    assert compare(want, padded, of_step=True).problem(0.0) is None
    assert compare(want, padded).unlike is not None
    assert compare({"ids": want["input_ids"]}, {"ids": padded["input_ids"]}, of_step=True).unlike is not None
    assert compare(want, {"input_ids": np.array([101, 7, 0, 5])}, of_step=True).unlike is not None
    assert compare(want, {"input_ids": np.array([101])}, of_step=True).unlike is not None


def test_an_output_that_only_one_of_two_answers_holds_is_told() -> None:
    one, both = {"y": np.zeros(2)}, {"x": np.zeros(2), "y": np.zeros(2)}
    assert compare(both, one).problem(1.0) == "`x` is missing"
    assert compare(one, both).problem(1.0) == "`x` is not expected"
    assert compare(one, both, of_step=True).problem(1.0) is None


def test_the_worst_of_several_outputs_is_named() -> None:
    case = compare({"x": np.zeros(2), "y": np.zeros(2)}, {"x": np.array([0.0, 0.5]), "y": np.array([-2.0, 0.0])})
    assert case.problem(1e-3) == "`y` differs by 2.00e+00, the gate is 1e-03"


def test_an_infinity_that_comes_back_is_no_difference() -> None:
    logits = {"logits": np.array([-np.inf, 1.0])}
    assert compare(logits, {"logits": np.array([-np.inf, 1.0])}).problem(0.0) is None
    assert compare(logits, {"logits": np.array([np.nan, 1.0])}).problem(1e9) is not None


@pytest.mark.parametrize(
    ("expected", "got", "problem"),
    [
        (texts('{"a":1}'), texts('[{"a":1}]'), '`y` is [{"a":1}], expected is {"a":1}'),
        (texts('[{"a":1}]', "[]"), texts("[]", '[{"a":1}]'), '`y` lacks {"a": 1}'),
        (texts("a", "b"), texts("b", "a"), "`y` is b, expected is a"),
        (texts("a", "b").reshape(2, 1), texts("a", "b"), "`y` has the shape [2], expected is [2, 1]"),
        (texts("[]"), texts("[]", "[]"), "`y` has the shape [2], expected is [1]"),
        (
            texts('[{"a": 1}]'),
            texts('[{"a": true}]'),
            '`y` lacks {"a": 1} and holds {"a": true}, which is not expected',
        ),
        (texts('[{"a": 0.5}]'), texts('[{"a": NaN}]'), "`y` differs by inf, the gate is 1e+09"),
        (np.array([3, 1]), np.array([3, 1, 0]), "`y` is [3, 1, 0], expected is [3, 1]"),
        (np.array([[3], [1]]), np.array([3, 1]), "`y` is [3, 1], expected is [[3], [1]]"),
        (np.array([2**53]), np.array([2**53 + 1]), "`y` is [9007199254740993], expected is [9007199254740992]"),
        (np.array([1]), np.array([True]), "`y` holds truth values, expected are whole numbers"),
        (np.array([1.0]), np.array([1]), "`y` holds whole numbers, expected are numbers with a fraction"),
        (texts("1"), np.array([1]), "`y` holds whole numbers, expected are texts"),
    ],
)
def test_what_is_another_answer_however_alike_it_looks(expected: Array, got: Array, problem: str) -> None:
    told = compare({"y": expected}, {"y": got}).problem(1e9)
    assert told is not None and told.startswith(problem)
    assert compare({"y": got}, {"y": expected}).problem(1e9) is not None


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        ({"label": texts("a", "b").reshape(2, 1)}, "`label` has the shape [2, 1], expected is [2]"),
        ({"score": np.array([[0.75], [0.25]], np.float32)}, "`score` differs by inf"),
        ({"score": np.array([0.75, 0.25, 0.0], np.float32)}, "`score` differs by inf"),
        ({"score": texts("0.75", "0.25")}, "`score` holds texts, expected are numbers with a fraction"),
    ],
)
def test_a_ranking_of_another_form_is_another_answer(got: dict[str, Any], problem: str) -> None:
    expected = ranking(["a", "b"], [0.75, 0.25])
    told = compare(expected, {**expected, **got}).problem(1.0)
    assert told is not None and told.startswith(problem)


def test_a_label_that_is_there_twice_counts_twice() -> None:
    expected = ranking(["a", "a", "b"], [0.5, 0.25, 0.25])
    assert compare(expected, ranking(["a", "b", "b"], [0.5, 0.25, 0.25])).problem(1.0) is not None
    assert compare(expected, ranking(["a", "a", "b"], [0.5, 0.125, 0.25])).difference == 0.125


def test_a_thing_may_hold_any_text() -> None:
    fraction, text = things([{"score": 0.5}]), things([{"score": "a fraction"}])
    assert compare(fraction, text).shared == compare(text, fraction).shared == Shared(0, 1, 1)
    assert compare(text, text).problem(0.0) is None


def test_json_that_is_nested_too_deep_is_a_text_like_any() -> None:
    deep = {"y": texts("[" * 100_000)}
    assert compare(deep, deep).problem(0.0) is None
    assert compare(deep, {"y": texts("[" * 99_999)}).unlike is not None


def test_the_cosine_of_vectors() -> None:
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
    assert cosine(np.array([1.0, 0.0]), np.array([-2.0, 0.0])) == -1.0
    assert cosine(np.zeros(2), np.zeros(2)) == 1.0
    assert cosine(np.zeros(2), np.array([1.0, 0.0])) == 0.0
    assert cosine(np.array([np.nan, 1.0]), np.array([1.0, 1.0])) == 0.0
    assert cosine(np.ones(2), np.ones(3)) == 0.0


def test_vectors_are_numbers_that_every_row_has_as_many_of() -> None:
    short, long, one = (np.ones(size, dtype=np.float32) for size in (2, 3, 1))
    assert vectors_in([{"embedding": short}, {"embedding": short}]) == {"embedding"}
    assert vectors_in([{"forecast": short}, {"forecast": long}]) == frozenset()
    assert vectors_in([{"price": one}]) == frozenset()
    assert vectors_in([{"ids": np.ones(2, dtype=np.int32)}]) == frozenset()
    assert vectors_in([ranking(["a", "b"], [0.5, 0.5])]) == frozenset()
    assert vectors_in([]) == frozenset()


def test_answers_that_all_have_labels_and_scores_rank() -> None:
    assert ranks([ranking(["a"], [1.0])])
    assert not ranks([{"label": np.array(["a"], dtype=object)}])
    assert not ranks([])


def test_only_vectors_have_a_cosine() -> None:
    row, turned = {"embedding": np.array([1.0, 0.0])}, {"embedding": np.array([0.0, 1.0])}
    assert compare(row, turned, frozenset({"embedding"})).cosine == 0.0
    assert compare(row, turned).cosine is None
