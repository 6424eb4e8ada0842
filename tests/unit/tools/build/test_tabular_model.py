"""Columns of a given model as features, and rows that are made up of what features allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from conch_tools.build.tabular_model import Column, made_up, matrix_of, require_usable
from conch_tools.errors import BuildError
from conch_tools.pipelines import CategoricalFeature, Feature, NumericFeature

WIDE = Column("income").feature
GARDEN = Column("garden", ["north", "south"]).feature
NARROW = NumericFeature(type="numeric", minimum=1000.0, maximum=1010.0)
FAR = NumericFeature(type="numeric", minimum=1e6, maximum=2e6)
FEATURES: dict[str, Feature] = {"income": WIDE, "garden": GARDEN, "height": NARROW, "distance": FAR}


def test_a_column_with_values_is_categorical_in_words() -> None:
    feature = Column("rooms", [1, 2, 3]).feature
    assert isinstance(feature, CategoricalFeature)
    assert feature.categories == ["1", "2", "3"]


def test_a_truth_value_is_from_0_to_1() -> None:
    feature = Column("sold", truth=True).feature
    assert isinstance(feature, NumericFeature)
    assert (feature.minimum, feature.maximum) == (0.0, 1.0)


def test_rows_that_are_made_up_are_allowed_mixed_and_the_same_every_time() -> None:
    columns = [Column(name) for name in FEATURES]
    rows = made_up(FEATURES, columns, 50)
    assert rows == made_up(FEATURES, columns, 50)
    assert {row["garden"] for row in rows} == {"north", "south"}
    assert all(1000 <= float(row["height"]) <= 1010 and 1e6 <= float(row["distance"]) <= 2e6 for row in rows)
    sizes = np.abs([float(row["income"]) for row in rows])
    assert sizes.min() < 0.5
    assert 5 < sizes.max() < 1000


def test_rows_lie_where_the_data_did_unless_the_bounds_say_otherwise() -> None:
    columns = [Column("income", usual=(500.0, 501.0)), Column("height", usual=(0.0, 1.0))]
    rows = made_up({"income": WIDE, "height": NARROW}, columns, 20)
    assert all(500 <= float(row["income"]) <= 501 for row in rows)
    assert all(1000 <= float(row["height"]) <= 1010 for row in rows)


def test_a_category_is_its_index_in_a_matrix() -> None:
    rows: list[dict[str, float | str]] = [{"income": 2.5, "garden": "south"}, {"income": -1, "garden": "north"}]
    matrix = matrix_of({"income": WIDE, "garden": GARDEN}, rows)
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[2.5, 1.0], [-1.0, 0.0]]


@pytest.mark.parametrize(
    ("columns", "labels", "said"),
    [
        ([Column("a"), Column("a")], ["x", "y"], "two columns of its source are named 'a'"),
        ([Column("entity_id")], ["x", "y"], "`entity_id`"),
        ([Column("a", ["one"])], ["x", "y"], "has one category only"),
        ([Column("a")], ["x"], "is no classifier"),
        ([Column("a")], ["x", ""], "a label is a text that can be printed"),
        ([Column("a")], ["x", "y\n"], "a label is a text that can be printed"),
        ([Column("a")], ["x", "x"], "have the same name"),
    ],
)
def test_names_that_cannot_be_kept_apart_are_refused(
    columns: Sequence[Column], labels: Sequence[str], said: str
) -> None:
    with pytest.raises(BuildError) as refused:
        require_usable("mine", columns, labels)
    assert said in refused.value.problem
