"""Classifiers of breast tumours, from the measured nuclei of scikit-learn's breast-cancer data.

The data have thirty columns: ten measures of the nuclei in an image, each as its mean, its standard error and its
worst. Twelve of them are kept. Two more become classes, as people speak of them, and their numbers are left out
together with what only repeats them (perimeter and area): `size_class` is the mean radius, small below 12, medium
below 15, else large; `texture_class` is the mean texture, smooth below 17, mixed below 21, else coarse. The bounds cut
the patients into three groups of about the same size.

A fit takes a second and is the same for the same seed, so every build fits anew and no weights are kept.

Data: W. Wolberg, O. Mangasarian, N. Street, W. Street, Breast Cancer Wisconsin (Diagnostic), UCI Machine Learning
Repository, 1995, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from conch_tools.training import Report

labels: Sequence[str] = ["malignant", "benign"]
NUMBERS = (
    "mean_smoothness",
    "mean_concavity",
    "mean_concave_points",
    "mean_symmetry",
    "radius_error",
    "area_error",
    "worst_smoothness",
    "worst_compactness",
    "worst_concavity",
    "worst_concave_points",
    "worst_symmetry",
    "worst_fractal_dimension",
)
categories: Mapping[str, Sequence[str]] = {
    "size_class": ["small", "medium", "large"],
    "texture_class": ["smooth", "mixed", "coarse"],
}
SIZE_BOUNDS = (12.0, 15.0)
TEXTURE_BOUNDS = (17.0, 21.0)
columns: Sequence[str] = [*NUMBERS, *categories]

SEED = 7
HELDOUT_SHARE = 0.3
TREES = 100
TREE_DEPTH = 8
HIDDEN_UNITS = 16

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Patient:
    """One row of the data."""

    entity: str
    values: Mapping[str, float | str]
    """By column; the numbers as FP32 has them, which is what the model and the feature store keep."""
    label: str


def patients() -> list[Patient]:
    """All 569, in the order of the data set: `patient-0` is its first row."""
    data = load_breast_cancer()
    measured = {name.replace(" ", "_"): column for name, column in zip(data.feature_names, data.data.T, strict=True)}
    classes = {
        "size_class": np.digitize(measured["mean_radius"], SIZE_BOUNDS),
        "texture_class": np.digitize(measured["mean_texture"], TEXTURE_BOUNDS),
    }
    return [
        Patient(
            f"patient-{row}",
            {name: float(np.float32(measured[name][row])) for name in NUMBERS}
            | {name: categories[name][classes[name][row]] for name in categories},
            labels[truth],
        )
        for row, truth in enumerate(data.target)
    ]


def split() -> tuple[list[Patient], list[Patient]]:
    """Patients to fit on, and held-out ones."""
    everyone = patients()
    fitted, heldout = train_test_split(
        everyone, test_size=HELDOUT_SHARE, random_state=SEED, stratify=[each.label for each in everyone]
    )
    return fitted, heldout


def matrix(rows: Sequence[Mapping[str, float | str]]) -> Matrix:
    """Rows of values by column as the models take them, FP32 [n, columns]: a category is its index."""
    return np.array([[_number(name, row[name]) for name in columns] for row in rows], dtype=np.float32)


def fit(kind: str) -> Pipeline:
    """A fitted classifier of rows, of a kind of kinds."""
    fitted, _ = split()
    truths = [labels.index(each.label) for each in fitted]
    return kinds[kind]().fit(matrix([each.values for each in fitted]), truths)


def train(report: Report) -> None:
    """Fit every kind and say how good it is; there is nothing to keep."""
    _, heldout = split()
    rows = matrix([each.values for each in heldout])
    truths = [labels.index(each.label) for each in heldout]
    for kind in kinds:
        report(f"risk: {kind} is right on {fit(kind).score(rows, truths):.4f} of {len(truths)} held-out patients")


def _number(name: str, value: float | str) -> float:
    return float(categories[name].index(str(value))) if name in categories else float(value)


def _linear() -> Pipeline:
    return make_pipeline(_encoder(StandardScaler()), LogisticRegression(max_iter=1000))


def _forest() -> Pipeline:
    forest = RandomForestClassifier(TREES, max_depth=TREE_DEPTH, random_state=SEED)
    return make_pipeline(_encoder("passthrough"), forest)


def _network() -> Pipeline:
    network = MLPClassifier((HIDDEN_UNITS,), alpha=0.1, max_iter=2000, solver="lbfgs", random_state=SEED)
    return make_pipeline(_encoder(StandardScaler()), network)


def _encoder(numbers: Any) -> ColumnTransformer:
    """Numbers as they are or scaled, classes one-hot."""
    known = [np.arange(len(names), dtype=np.float32) for names in categories.values()]
    numeric = list(range(len(NUMBERS)))
    classes = list(range(len(NUMBERS), len(columns)))
    return ColumnTransformer([("numbers", numbers, numeric), ("classes", OneHotEncoder(categories=known), classes)])


kinds: Mapping[str, Callable[[], Pipeline]] = {"linear": _linear, "forest": _forest, "network": _network}
