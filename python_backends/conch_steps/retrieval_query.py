"""What can be asked of a catalogue: by words, by an item, or by what a person liked; with a number and a filter."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from conch_steps.catalogue_items import MAX_JSON_BYTES, Category, Item, ItemId, StrictModel, checked, read_json
from conch_steps.texts import utf8

DEFAULT_COUNT, MAX_COUNT = 5, 100
MAX_TEXT = 20_000
"""Characters; the encoder reads the first few hundred words."""
MAX_NAMED = 100
"""Ids in `liked` and in `disliked`."""
TENSOR = "query"


class Range(StrictModel):
    """From `min` to `max`, both included, either one open."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` {self.min:g} is above `max` {self.max:g}")
        return self

    def holds(self, value: float) -> bool:
        """Whether the value is in the range."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Categories = Annotated[
    tuple[Category, ...], Field(min_length=1, max_length=MAX_NAMED, strict=False), BeforeValidator(_several)
]


class Filter(StrictModel):
    """What an item must be; every field given counts."""

    category: Categories | None = None
    """One, or any of several."""
    price: Range | None = None
    in_stock: StrictBool | None = None
    year: Range | None = None

    def accepts(self, item: Item) -> bool:
        """Whether the item is all of it."""
        return (
            (self.category is None or item.category in self.category)
            and (self.price is None or self.price.holds(item.price))
            and (self.in_stock is None or item.in_stock is self.in_stock)
            and (self.year is None or self.year.holds(item.year))
        )


Ids = Annotated[tuple[ItemId, ...], Field(min_length=1, max_length=MAX_NAMED, strict=False)]


class Question(StrictModel):
    """Exactly one of `text`, `item` and `liked`."""

    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    item: ItemId | None = None
    liked: Ids | None = None
    disliked: Annotated[tuple[ItemId, ...], Field(max_length=MAX_NAMED, strict=False)] = ()
    k: Annotated[int, Field(ge=1, le=MAX_COUNT)] = DEFAULT_COUNT
    filter: Filter = Filter()

    @model_validator(mode="after")
    def _one_way_of_asking(self) -> Question:
        ways = [name for name in ("text", "item", "liked") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"give one of `text`, `item` and `liked`, not {' and '.join(ways) or 'none'}")
        if self.text is not None and not self.text.strip():
            raise ValueError("`text` says nothing")
        if self.disliked and self.liked is None:
            raise ValueError("`disliked` goes with `liked`")
        both = set(self.disliked).intersection(self.liked or ())
        if both:
            raise ValueError(f"`{min(both)}` is both liked and disliked")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Ids that the question speaks of; they are never among its answers."""
        return ((self.item,) if self.item is not None else ()) + (self.liked or ()) + self.disliked


def read_question(raw: bytes, where: str) -> Question:
    """A JSON object as a question; text that does not begin like one is what to search for.

    Raises InvalidInput that begins with `where` and names the field and what is wrong with it.
    """
    if raw.lstrip().startswith(b"{"):
        return read_json(Question, raw, where)
    return checked(Question, {"text": utf8(raw, where, MAX_JSON_BYTES)}, where)
