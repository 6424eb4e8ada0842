"""What a catalogue holds and how it may be changed: the schema of items and of changes, and reading them from JSON.

The same schema guards the catalogue's file at build time and every change at run time, so an item that was accepted can
always be searched, filtered and given back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conch_steps.errors import InvalidInput
from conch_steps.json_objects import known_instead, read_object, shown

MAX_ADDED = 500
"""Items of one request: each is embedded, and the step answers one request at a time."""
MAX_REMOVED = 10_000
MAX_JSON_BYTES = 4 * 1024 * 1024
SHOWN_ERRORS = 3

ItemId = Annotated[str, Field(pattern=r"^[a-z0-9-]{3,40}$")]
Category = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")]
Price = Annotated[float, Field(ge=0, le=1e9)]
Year = Annotated[int, Field(ge=1800, le=2200)]


class StrictModel(BaseModel):
    """Nothing is converted, nothing unknown is passed over."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_field(cls, value: object) -> object:
        if isinstance(value, Mapping):
            for name in value:
                if name not in cls.model_fields:
                    raise ValueError(f"{shown(name)} is not a field: {known_instead(name, cls.model_fields)}")
        return value


class Item(StrictModel):
    """One thing in the catalogue."""

    id: ItemId
    title: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(min_length=1, max_length=4000)]
    category: Category
    price: Price
    in_stock: bool
    year: Year

    @property
    def embedded_text(self) -> str:
        """The words that stand for the item in the vector index; with its category it is found better."""
        return f"{self.title} ({self.category}). {self.text}"


class Change(StrictModel):
    """Items to add, or to replace where the id is there already, and ids to remove."""

    add: Annotated[tuple[Item, ...], Field(max_length=MAX_ADDED, strict=False)] = ()
    remove: Annotated[tuple[ItemId, ...], Field(max_length=MAX_REMOVED, strict=False)] = ()

    @model_validator(mode="after")
    def _each_id_once(self) -> Change:
        if not self.add and not self.remove:
            raise ValueError("it changes nothing: give items to `add` or ids to `remove`")
        counts = Counter([*(item.id for item in self.add), *set(self.remove)])
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"`{twice}` is named twice: one change adds or removes an id once")
        return self


class Outcome(StrictModel):
    """What a change did."""

    added: int
    replaced: int
    unchanged: int
    """Items that were there already, equal in every field."""
    removed: int
    absent: int
    """Ids to remove that were not there."""
    items: int
    """Items in the catalogue now."""
    revision: int
    """Grows with every request that changed something."""


Model = TypeVar("Model", bound=StrictModel)


def read_changes(rows: Iterable[bytes]) -> list[Change]:
    """The changes of one request. Raises InvalidInput naming the change, the field and what is wrong with it."""
    changes = [read_json(Change, raw, f"`change`[{index}]") for index, raw in enumerate(rows)]
    added = sum(len(change.add) for change in changes)
    if added > MAX_ADDED:
        raise InvalidInput(
            f"the changes of this request add {added} items, the limit is {MAX_ADDED}: send them in several requests"
        )
    return changes


def read_json(kind: type[Model], raw: bytes, where: str) -> Model:
    """A JSON object as `kind`; `where` names it in refusals. Raises InvalidInput naming the field as well."""
    return checked(kind, read_object(raw, where, MAX_JSON_BYTES), where)


def checked(kind: type[Model], values: Mapping[str, object], where: str) -> Model:
    """Values by field as `kind`; `where` names them in refusals. Raises InvalidInput naming the field."""
    try:
        return kind.model_validate(values)
    except ValidationError as problem:
        raise InvalidInput(f"{where}: {in_words(problem)}") from problem


def in_words(problem: ValidationError) -> str:
    """The first errors as one line, each with the place of its field."""
    errors = problem.errors(include_url=False, include_input=False, include_context=False)
    said = []
    for error in errors[:SHOWN_ERRORS]:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] in ("tuple_type", "too_short", "too_long"):
            # What becomes a tuple here is a list to the caller.
            message = message.replace("Tuple", "List").replace("tuple", "list")
        said.append(f"{place}: {message}" if place else message)
    more = len(errors) - len(said)
    return "; ".join([*said, *([f"and {more} more"] if more else [])])
