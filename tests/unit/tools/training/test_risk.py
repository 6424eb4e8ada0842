"""The patients of `risk`: their classes are cut as documented, and the schema of the pipeline fits them."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from conch_tools.pipelines import CategoricalFeature, NumericFeature, load_pipeline
from conch_tools.settings import Settings
from conch_tools.training import risk

FEATURES = load_pipeline(Settings().repository / "risk").features
EVERYONE = [patient.values for patient in risk.patients()]


def test_classes_are_cut_from_the_measured_numbers() -> None:
    data = load_breast_cancer()
    radius, texture = data.data[:, 0], data.data[:, 1]
    for row, values in enumerate(EVERYONE):
        size = "small" if radius[row] < 12 else "medium" if radius[row] < 15 else "large"
        grain = "smooth" if texture[row] < 17 else "mixed" if texture[row] < 21 else "coarse"
        assert (values["size_class"], values["texture_class"]) == (size, grain)


def test_no_number_that_a_class_was_cut_from_is_a_feature() -> None:
    assert not {"mean_radius", "mean_texture", "mean_perimeter", "mean_area"} & set(risk.columns)


@pytest.mark.parametrize("name", risk.columns)
def test_the_schema_holds_every_patient_and_its_default_is_the_one_in_the_middle(name: str) -> None:
    feature = FEATURES[name]
    values = [patient[name] for patient in EVERYONE]
    if isinstance(feature, CategoricalFeature):
        assert set(values) == set(feature.categories)
        assert feature.default in (None, feature.categories[1])
    else:
        assert isinstance(feature, NumericFeature)
        numbers = [float(value) for value in values]
        assert feature.minimum <= min(numbers) and max(numbers) <= feature.maximum
        assert feature.default is None or feature.default == pytest.approx(median(numbers), rel=0.01)


def test_a_row_is_numbers_in_the_order_of_the_columns_and_a_category_its_index() -> None:
    values = {name: float(position) for position, name in enumerate(risk.NUMBERS)}
    row = risk.matrix([{"texture_class": "coarse", "size_class": "medium", **values}])
    assert row.dtype == np.float32
    assert row.tolist() == [[*range(12), 1, 2]]


def test_held_out_patients_are_not_fitted_on() -> None:
    fitted, heldout = risk.split()
    assert not {each.entity for each in fitted} & {each.entity for each in heldout}
    assert len(fitted) + len(heldout) == len(EVERYONE) == 569
