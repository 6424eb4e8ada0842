"""Objects of named values become rows of numbers, or are refused by name."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError
from conch_steps.features import Categorical, Feature, FeatureRows, Numeric, Values, read_schema

SCHEMA: Mapping[str, Feature] = {
    "weight": Numeric(0.0, 150.0),
    "height": Numeric(0.5, 2.5, default=1.75),
    "colour": Categorical(["red", "green", "blue"], default="green"),
}
STORED: Mapping[str, Values] = {"anna": {"weight": 60.0, "height": 1.5, "colour": "blue"}, "ben": {"weight": 80.0}}


class Store:
    """A feature store that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def __call__(self, entities: Sequence[str]) -> list[Values]:
        self.asked.append(entities)
        return [STORED.get(entity, {}) for entity in entities]


def batch(*rows: str | bytes | Mapping[str, object]) -> npt.NDArray[np.object_]:
    """BYTES [n, 1]."""
    raw = [json.dumps(row) if isinstance(row, Mapping) else row for row in rows]
    return np.array([[row.encode() if isinstance(row, str) else row] for row in raw], dtype=np.object_)


def rows(*given: str | bytes | Mapping[str, object], lookup: Store | None = None) -> Any:
    return FeatureRows(SCHEMA, lookup).rows(batch(*given))


def refusal(*given: str | bytes | Mapping[str, object], lookup: Store | None = None) -> str:
    with pytest.raises(InvalidInput) as refused:
        rows(*given, lookup=lookup)
    return str(refused.value)


def test_a_row_has_a_column_a_feature_and_a_category_is_its_index() -> None:
    answer = rows({"colour": "blue", "height": 2, "weight": 70.5}, {"weight": 1, "height": 1, "colour": "red"})
    assert answer.dtype == np.float32
    assert answer.tolist() == [[70.5, 2, 2], [1, 1, 0]]


def test_what_is_absent_or_null_takes_its_default() -> None:
    assert rows({"weight": 70, "colour": None}).tolist() == [[70, 1.75, 1]]


def test_bounds_belong_to_the_numbers_allowed() -> None:
    assert rows({"weight": 0, "height": 2.5}).tolist() == [[0, 2.5, 1]]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("150.001", "150.001"),
        ("-1", "-1"),
        ("NaN", "not a number (NaN)"),
        ("Infinity", "infinite"),
        ("-Infinity", "infinite"),
        ("1e999", "infinite"),
        ("9" * 5000, "infinite"),
        ("true", "true"),
        ('"70"', '"70"'),
        ("[70]", "a list"),
        ('{"kg": 70}', "an object"),
    ],
)
def test_a_number_that_is_not_allowed_is_named_with_its_bounds(value: str, shown: str) -> None:
    assert refusal(f'{{"weight": {value}}}') == (
        f"`features`[0]: `weight` is {shown}, but must be a number from 0 to 150"
    )


@pytest.mark.parametrize(("value", "shown"), [("purple", '"purple"'), ("", '""'), (1, "1"), (False, "false")])
def test_a_category_that_is_not_known_is_named_with_those_that_are(value: object, shown: str) -> None:
    assert refusal({"weight": 70, "colour": value}) == (
        f"`features`[0]: `colour` is {shown}, but must be one of red, green, blue"
    )


def test_a_feature_without_default_must_be_given() -> None:
    said = "`features`[0]: `weight` is missing, it must be a number from 0 to 150"
    assert refusal({}) == said
    assert refusal({"weight": None}) == said


def test_an_unknown_feature_is_named_with_the_one_that_was_meant() -> None:
    assert '"wieght" is not a feature: did you mean `weight`?' in refusal({"wieght": 70})
    assert '"xyz" is not a feature: there are weight, height, colour' in refusal({"weight": 70, "xyz": 1})
    assert '"entity_id" is not a feature' in refusal({"weight": 70, "entity_id": "anna"})


def test_all_problems_of_a_row_are_told_at_once_and_many_in_short() -> None:
    said = refusal({"weight": 70}, {"weight": -1, "height": "tall", "colour": "pink"})
    assert said.startswith("`features`[1]: ")
    assert said.count("but must be") == 3
    assert refusal({f"x{number}": 1 for number in range(10)}).endswith("; and 6 more")
    assert refusal({"x": 1, "y": 1, "height": 9, "colour": 1}).count(";") == 4


def test_a_row_of_unknown_names_is_refused_without_looking_for_each_that_was_meant() -> None:
    names = {f"heigh{number}": 1 for number in range(4000)}
    # Processor time, and of this thread: other work on the machine does not count.
    began = time.thread_time()
    assert refusal(names).endswith("; and 3996 more")
    twice = json.dumps(names)[:-1] + ', "heigh3999": 2}'
    assert refusal(twice).endswith('names "heigh3999" twice')
    assert time.thread_time() - began < 0.25


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "is not JSON: Expecting value"),
        ('{"weight": 70', "is not JSON"),
        ("{'weight': 70}", "is not JSON"),
        ('\ufeff{"weight": 70}', "is not JSON"),
        (b'{"weight": "\xff"}', "is not UTF-8: byte 12 is 0xff"),
        ("70", "is 70, but must be an object of names and values"),
        ("null", "is null, but must be an object"),
        ('"weight"', 'is "weight", but must be an object'),
        ("[1, 2]", "is a list, but must be an object"),
        ('{"weight": 70, "weight": 71}', 'names "weight" twice'),
        ('{"weight": ' + "[" * 20_000 + "]" * 20_000 + "}", "is nested too deeply"),
        ('{"weight": "' + "x" * 70_000 + '"}', "has 70014 bytes, the limit is 65536"),
    ],
)
def test_what_is_no_object_is_refused_by_its_place(raw: str | bytes, said: str) -> None:
    assert refusal({"weight": 70}, raw).startswith(f"`features`[1] {said}")


def test_what_is_refused_is_shown_in_short_and_in_any_script() -> None:
    assert f'"{"é" * 60}…"' in refusal({"weight": "é" * 1000})
    refusal('{"weight": 70, "\\ud800": "\\udfff"}').encode()


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="has no rows"):
        FeatureRows(SCHEMA).rows(np.empty((0, 1), dtype=np.object_))


def test_an_entity_brings_its_stored_values_and_given_ones_override_them() -> None:
    answer = rows({"entity_id": "anna"}, {"entity_id": "anna", "height": 2, "colour": None}, lookup=Store())
    assert answer.tolist() == [[60, 1.5, 2], [60, 2, 2]]


def test_what_is_not_stored_takes_its_default() -> None:
    assert rows({"entity_id": "ben"}, lookup=Store()).tolist() == [[80, 1.75, 1]]


def test_the_store_is_asked_once_a_request_and_only_for_rows_that_name_an_entity() -> None:
    store = Store()
    rows({"weight": 1}, {"entity_id": "ben"}, {"entity_id": "anna"}, {"entity_id": "ben"}, lookup=store)
    rows({"weight": 1}, lookup=store)
    assert store.asked == [["anna", "ben"]]


def test_an_entity_that_is_not_stored_is_named() -> None:
    said = '`features`[1]: `entity_id` "nobody" is not in the feature store'
    assert refusal({"weight": 1}, {"entity_id": "nobody", "weight": 1}, lookup=Store()) == said


@pytest.mark.parametrize("entity", [17, None, "", "x" * 61, "a\x00b", "\ud800", ["anna"]])
def test_an_entity_is_a_short_text(entity: object) -> None:
    assert "but must be a text of 1 to 60 printable characters" in refusal({"entity_id": entity}, lookup=Store())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*SCHEMA, "other"]), json_values))
def test_any_object_gives_a_row_within_the_schema_or_a_refusal_that_can_be_sent(row: dict[str, Any]) -> None:
    try:
        ((weight, height, colour),) = rows(row).tolist()
    except InvalidInput as refused:
        assert str(refused).encode()
    else:
        assert 0 <= weight <= 150 and 0.5 <= height <= 2.5 and colour in (0, 1, 2)
        assert math.isclose(weight, row["weight"], rel_tol=1e-6)


def test_a_schema_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(
        json.dumps(
            {
                "features": {
                    "b": {"type": "numeric", "minimum": 0, "maximum": 1},
                    "a": {"type": "categorical", "categories": ["x", "y"], "default": "y"},
                }
            }
        )
    )
    assert list(read_schema(path).items()) == [("b", Numeric(0, 1)), ("a", Categorical(["x", "y"], "y"))]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"features": {}}',
        '{"features": {"a": {"type": "text"}}}',
        '{"features": {"a": {"type": "numeric", "minimum": 0}}}',
        '{"features": {"entity_id": {"type": "numeric", "minimum": 0, "maximum": 1}}}',
    ],
)
def test_a_schema_that_is_not_usable_is_refused_by_its_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(content)
    with pytest.raises(ModelConfigError, match=r"schema\.json"):
        read_schema(path)


def test_a_missing_schema_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"schema\.json is missing: run `conch build`"):
        read_schema(tmp_path / "schema.json")
