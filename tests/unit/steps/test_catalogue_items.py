"""What is an item, what is a change, and what is said of one that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conch_steps.catalogue_items import MAX_ADDED, Change, Item, read_changes, read_json
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
    return read_json(Change, json.dumps(content).encode(), "`change`")


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
        ("colour", "red", r'add\[0\]: "colour" is not a field: there are id, title, text'),
        ("prise", 19, r'add\[0\]: "prise" is not a field: did you mean `price`\?'),
    ],
)
def test_an_item_that_does_not_fit_the_schema_is_named_with_its_field(field: str, value: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"`change`: {said}"):
        change(add=[{**LAMP, field: value}])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{}", "changes nothing"),
        (b"[]", "`change` is a list, but must be an object"),
        (b'{"add": ', "`change` is not JSON"),
        (b"\xff", "`change` is not UTF-8"),
        (b'{"remove": ["tent-1"], "remove": ["tent-2"]}', '`change` names "remove" twice'),
        (b'{"remove": ["tent-1", 4]}', r"remove\[1\]: Input should be a valid string"),
        (b'{"remove": "tent-1"}', "remove: Input should be a valid list"),
        (b"[" * 100_000, "`change` is nested too deeply"),
        (b'{"remove": ["\\ud800"]}', r"remove\[0\]: Input should be a valid string"),
        (b'{"\\ud800": 1}', "is not a field"),
    ],
    ids=[
        "empty",
        "a list",
        "cut short",
        "not UTF-8",
        "said twice",
        "an id that is a number",
        "ids as text",
        "deep",
        "surrogate",
        "field of a surrogate",
    ],
)
def test_what_is_no_change_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        read_json(Change, raw, "`change`")
    assert str(refused.value).encode()


def test_an_id_that_is_named_twice_is_refused_and_a_removal_said_twice_is_not() -> None:
    for twice in ({"add": [LAMP, LAMP]}, {"add": [LAMP], "remove": ["lamp-dusk"]}):
        with pytest.raises(InvalidInput, match="`lamp-dusk` is named twice"):
            change(**twice)
    assert change(remove=["tent-1", "tent-1"]).remove


def test_a_change_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the limit is 4194304"):
        read_json(Change, b" " * (4 * 1024 * 1024 + 1), "`change`")
    with pytest.raises(InvalidInput, match="List should have at most 500 items"):
        change(add=[{**LAMP, "id": f"lamp-{number}"} for number in range(501)])


def test_many_errors_are_counted_and_not_all_told() -> None:
    with pytest.raises(InvalidInput, match=r"and 3 more$"):
        change(add=[{"id": "lamp-dusk"}])


def test_changes_of_one_request_are_read_by_their_place_and_add_no_more_than_one_may() -> None:
    def add(count: int, name: str) -> bytes:
        return json.dumps({"add": [{**LAMP, "id": f"{name}-{number}"} for number in range(count)]}).encode()

    assert [len(change.add) for change in read_changes([add(MAX_ADDED - 1, "lamp"), add(1, "bulb")])] == [499, 1]
    with pytest.raises(InvalidInput, match="of this request add 501 items, the limit is 500: send them in several"):
        read_changes([add(MAX_ADDED - 1, "lamp"), add(2, "bulb")])
    with pytest.raises(InvalidInput, match=r"^`change`\[1\]: it changes nothing"):
        read_changes([add(1, "lamp"), b"{}"])
