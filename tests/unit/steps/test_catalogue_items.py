"""What is an item, what is a change, and what is said of one that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conch_steps.catalogue_items import Change, Item, read_json
from conch_steps.errors import InvalidInput

LAMP: dict[str, Any] = {
    "id": "lamp-dusk",
    "title": "Dusk lamp",
    "text": "A lamp for the hours after sunset.",
    "category": "desk",
    "price": 19.5,
    "in_stock": True,
    "year": 2024,
}


def change(**content: Any) -> Change:
    return read_json(Change, json.dumps(content).encode(), "change")


def test_a_change_adds_and_removes() -> None:
    made = change(add=[LAMP], remove=["tent-1"])
    assert made.add == (Item(**LAMP),)
    assert made.remove == ("tent-1",)


def test_a_whole_price_is_the_same_price() -> None:
    assert change(add=[{**LAMP, "price": 19}]).add[0].price == 19.0


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("id", "Lamp", r"add\[0\]\.id: String should match pattern"),
        ("id", "ab", r"add\[0\]\.id"),
        ("title", "", r"add\[0\]\.title: String should have at least 1 character"),
        ("text", 7, r"add\[0\]\.text: Input should be a valid string"),
        ("category", "Desk", r"add\[0\]\.category"),
        ("price", -1, r"add\[0\]\.price: Input should be greater than or equal to 0"),
        ("price", "19", r"add\[0\]\.price: Input should be a valid number"),
        ("price", float("nan"), r"add\[0\]\.price: Input should be a finite number"),
        ("in_stock", 1, r"add\[0\]\.in_stock: Input should be a valid boolean"),
        ("year", 24.5, r"add\[0\]\.year"),
        ("colour", "red", r"add\[0\]\.colour: Extra inputs are not permitted"),
    ],
)
def test_an_item_that_does_not_fit_the_schema_is_named_with_its_field(field: str, value: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"`change`: {said}"):
        change(add=[{**LAMP, field: value}])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{}", "changes nothing"),
        (b"[]", "Input should be an object"),
        (b'{"add": ', "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b'{"remove": ["tent-1", 4]}', r"remove\[1\]: Input should be a valid string"),
        (b'{"remove": "tent-1"}', "remove: Input should be a valid array"),
        (b"[" * 100_000, "Invalid JSON"),
        (b'{"remove": ["\\ud800"]}', "Invalid JSON"),
    ],
    ids=["empty", "a list", "cut short", "not UTF-8", "an id that is a number", "ids as text", "deep", "surrogate"],
)
def test_what_is_no_change_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_json(Change, raw, "change")


def test_an_id_that_is_named_twice_is_refused_and_a_removal_said_twice_is_not() -> None:
    for twice in ({"add": [LAMP, LAMP]}, {"add": [LAMP], "remove": ["lamp-dusk"]}):
        with pytest.raises(InvalidInput, match="`lamp-dusk` is named twice"):
            change(**twice)
    assert change(remove=["tent-1", "tent-1"]).remove


def test_a_change_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the limit is 4194304"):
        read_json(Change, b" " * (4 * 1024 * 1024 + 1), "change")
    with pytest.raises(InvalidInput, match="at most 500 items"):
        change(add=[{**LAMP, "id": f"lamp-{number}"} for number in range(501)])


def test_many_errors_are_counted_and_not_all_told() -> None:
    with pytest.raises(InvalidInput, match=r"and 4 more$"):
        change(add=[{"id": "lamp-dusk", "title": "Dusk lamp", "wrong": 1, "odd": 2}])
