"""What can be asked of a catalogue, and what is said of a question that cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conch_steps.catalogue_items import Item
from conch_steps.errors import InvalidInput
from conch_steps.retrieval_query import Filter, Question, read_question


def question(**content: Any) -> Question:
    return read_question(json.dumps(content).encode(), "`query`[0]")


@pytest.mark.parametrize("text", ["warm socks", "42", '"quoted"', "[1, 2]", "naïve café 🙂", "שלום"])
def test_text_that_is_no_object_is_what_to_search_for(text: str) -> None:
    assert read_question(text.encode(), "`query`[0]") == Question(text=text)


def test_five_results_are_the_default_and_a_hundred_the_limit() -> None:
    assert question(text="socks").k == 5
    assert question(text="socks", k=100).k == 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "give one of `text`, `item` and `liked`, not none"),
        ({"text": "a", "item": "tent-1"}, "not text and item"),
        ({"text": "  "}, "`text` says nothing"),
        ({"text": 4}, "text: Input should be a valid string"),
        ({"item": "Tent 1"}, "item: String should match pattern"),
        ({"liked": []}, "liked: List should have at least 1 item"),
        ({"disliked": ["tent-1"]}, "not none"),
        ({"text": "a", "disliked": ["tent-1"]}, "`disliked` goes with `liked`"),
        ({"liked": ["tent-1"], "disliked": ["tent-1"]}, "`tent-1` is both liked and disliked"),
        ({"text": "a", "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"text": "a", "k": 101}, "k: Input should be less than or equal to 100"),
        ({"text": "a", "k": True}, "k: Input should be a valid integer"),
        ({"text": "a", "colour": 1}, '"colour" is not a field: there are text, item, liked, disliked, k, filter'),
        ({"text": "a", "filters": {}}, '"filters" is not a field: did you mean `filter`'),
        ({"text": "a", "filter": {"prices": {}}}, 'filter: "prices" is not a field: did you mean `price`'),
        ({"text": "a", "filter": {"price": {}}}, r"filter\.price: give `min`, `max` or both"),
        ({"text": "a", "filter": {"price": {"min": 2, "max": 1}}}, "`min` 2 is above `max` 1"),
        ({"text": "a", "filter": {"price": {"min": float("inf")}}}, r"filter\.price\.min: Input should be a finite"),
        ({"text": "a", "filter": {"category": []}}, "at least 1 item"),
        ({"text": "a", "filter": {"category": 4}}, r"filter\.category: Input should be a valid list"),
        ({"text": "a", "filter": {"category": ["Desk"]}}, r"filter\.category\[0\]: String should match"),
        ({"text": "a", "filter": {"in_stock": "yes"}}, r"filter\.in_stock: Input should be a valid boolean"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(content: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^`query`\\[0\\]: .*{said}"):
        question(**content)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", ": `text` says nothing"),
        (b" \n", ": `text` says nothing"),
        (b"\xff", " is not UTF-8: byte 0 is 0xff"),
        (b"a" * 20_001, ": text: String should have at most 20000 characters"),
        (b'{"text": "socks"', " is not JSON"),
        (b'{"text": "socks", "text": "tent"}', ' names "text" twice'),
        (b'{"text": "socks", "k": ' + b"9" * 5000 + b"}", ": k: Input should be a valid integer"),
        (
            b'{"text": "socks", "filter": {"price": {"max": 1e400}}}',
            ": filter.price.max: Input should be a finite number",
        ),
        (b'{"text": "\\ud800"}', ": text: Input should be a valid string"),
        (b'{"text": ' * 20_000, " is nested too deeply"),
    ],
    ids=["empty", "blank", "not UTF-8", "long", "cut short", "said twice", "digits", "infinite", "surrogate", "deep"],
)
def test_what_is_neither_words_nor_a_question_is_refused_by_its_place(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_question(raw, "`query`[3]")
    assert str(refused.value).startswith(f"`query`[3]{said}")


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"category": "desk"}, True),
        ({"category": "camping"}, False),
        ({"category": ["camping", "desk"]}, True),
        ({"price": {"min": 19.5}}, True),
        ({"price": {"max": 19.5}}, True),
        ({"price": {"min": 19.51}}, False),
        ({"in_stock": False}, True),
        ({"in_stock": True}, False),
        ({"year": {"min": 2020, "max": 2024}}, True),
        ({"category": "desk", "year": {"max": 2023}}, False),
    ],
)
def test_every_field_of_a_filter_counts_and_bounds_are_included(wanted: dict[str, Any], fits: bool) -> None:
    lamp = Item(id="lamp", title="Lamp", text="Glows.", category="desk", price=19.5, in_stock=False, year=2024)
    assert question(text="a", filter=wanted).filter.accepts(lamp) is fits


def test_a_filter_of_nothing_is_no_filter() -> None:
    assert question(text="a", filter={}).filter == Filter()
