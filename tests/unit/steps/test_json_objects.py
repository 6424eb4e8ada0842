"""JSON objects are read so that none is misunderstood, and shown in few words."""

from __future__ import annotations

import pytest

from conch_steps.errors import InvalidInput
from conch_steps.json_objects import known_instead, read_object, shown


def test_an_object_keeps_its_values_and_their_kinds() -> None:
    said = read_object(b' {"a": 1, "b": 1.0, "c": [true, null], "d": {"a": "\xc3\xa9"}} ', "`row`", 100)
    assert said == {"a": 1, "b": 1.0, "c": [True, None], "d": {"a": "é"}}
    assert isinstance(said["a"], int)
    assert isinstance(said["b"], float)


def test_whole_numbers_are_exact_up_to_18_digits_and_infinite_beyond_what_a_float_holds() -> None:
    assert read_object(b'{"a": 123456789012345678}', "`row`", 100) == {"a": 123456789012345678}
    assert read_object(b'{"a": 1' + b"0" * 5000 + b"}", "`row`", 6000) == {"a": float("inf")}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not JSON: Expecting value"),
        (b'{"a": 1} x', "is not JSON: Extra data"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON: Unexpected UTF-8 BOM"),
        (b'{"a": "\xff"}', "is not UTF-8: byte 7 is 0xff"),
        (b"[]", "is a list, but must be an object of names and values"),
        (b"null", "is null, but must be an object"),
        (b'{"a": 1, "b": 2, "a": 3}', 'names "a" twice'),
        (b'{"a": [{"b": 1, "b": 1}]}', 'names "b" twice'),
        (b'{"\\ud800": 1, "\\ud800": 1}', 'names "\\ud800" twice'),
        (b'{"a": ' * 5000, "is nested too deeply"),
        (b'{"a": "' + b"x" * 40_000 + b'"}', "has 40009 bytes, the limit is 40000"),
    ],
)
def test_what_is_no_object_is_refused_by_its_place_and_can_be_sent(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_object(raw, "`row`[2]", 40_000)
    assert str(refused.value).startswith(f"`row`[2] {said}")
    assert str(refused.value).encode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5.0, "5"),
        (5, "5"),
        (0.25, "0.25"),
        (float("nan"), "not a number (NaN)"),
        (float("-inf"), "infinite"),
        (True, "true"),
        (None, "null"),
        ("é\n", '"é\\n"'),
        ("x" * 61, f'"{"x" * 60}…"'),
        (["long"] * 100, "a list"),
        ({"a": 1}, "an object"),
    ],
)
def test_values_are_shown_in_few_words(value: object, words: str) -> None:
    assert shown(value) == words


def test_an_unknown_name_is_answered_with_the_one_that_was_meant_or_all() -> None:
    assert known_instead("prise", ["price", "year"]) == "did you mean `price`?"
    assert known_instead("colour", ["price", "year"]) == "there are price, year"
