"""What a fitted scikit-learn model tells of itself: categories, where its data lay, and what it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from conch_tools.build.apart_inside import Refusal
from conch_tools.build.estimator_apart import answered, categories_of, loaded, usual_of

TABLE = pd.DataFrame(
    {
        "age": [20.0, 30.0, 40.0, 50.0] * 3,
        "garden": ["north", "south", "south", "west"] * 3,
        "rooms": [1, 2, 3, 2] * 3,
    }
)
BOUGHT = [0, 1, 1, 0] * 3


def fitted(*parts: tuple[Any, list[str]], table: pd.DataFrame = TABLE) -> Any:
    chosen = [(f"part_{index}", part, columns) for index, (part, columns) in enumerate(parts)]
    return make_pipeline(ColumnTransformer(chosen), LogisticRegression()).fit(table, BOUGHT)


def known(model: Any) -> dict[str, list[Any]]:
    return {name: values.tolist() for name, values in categories_of(model, list(TABLE.columns))}


def test_columns_of_an_encoder_are_categories_in_its_order() -> None:
    model = fitted((OneHotEncoder(), ["rooms", "garden"]), (StandardScaler(), ["age"]))
    assert known(model) == {"rooms": [1, 2, 3], "garden": ["north", "south", "west"]}


def test_an_encoder_is_found_behind_an_imputer_but_not_behind_what_makes_other_columns() -> None:
    imputed = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    assert known(fitted((imputed, ["garden"]))) == {"garden": ["north", "south", "west"]}
    made = make_pipeline(FunctionTransformer(lambda table: table[["garden"]]), OneHotEncoder())
    assert known(fitted((made, ["garden", "age"]))) == {}


def test_a_missing_value_that_an_encoder_saw_is_no_category() -> None:
    table = TABLE.assign(garden=["north", None, "south", "south"] * 3)
    assert known(fitted((OneHotEncoder(), ["garden"]), table=table)) == {"garden": ["north", "south"]}


def test_the_best_model_of_a_search_is_looked_into() -> None:
    search = GridSearchCV(fitted((OneHotEncoder(), ["garden"])), {"logisticregression__C": [0.1, 1.0]}, cv=2)
    assert known(search.fit(TABLE, BOUGHT)) == {"garden": ["north", "south", "west"]}


def test_a_scaler_tells_where_the_numbers_lay() -> None:
    low, high = dict(usual_of(fitted((StandardScaler(), ["age"])), list(TABLE.columns)))["age"]
    assert (low, high) == pytest.approx((35 - 2 * np.sqrt(125), 35 + 2 * np.sqrt(125)))


def test_a_tree_tells_where_it_parts_them() -> None:
    tree = DecisionTreeClassifier(random_state=0).fit(TABLE[["age"]], BOUGHT)
    low, high = dict(usual_of(tree, ["age"]))["age"]
    assert low < 25
    assert high > 45


def test_a_skops_file_of_unknown_types_needs_a_word(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    skops.io.dump(fitted((FunctionTransformer(np.log), ["age"])).set_params(memory=Path("x")), file)
    with pytest.raises(Refusal, match="does not know to be safe"):
        loaded(file, runs_code=False)


def test_a_plain_skops_file_needs_none(tmp_path: Path) -> None:
    skops.io.dump(fitted((StandardScaler(), ["age"])), tmp_path / "model.skops")
    assert loaded(tmp_path / "model.skops", runs_code=False).classes_.tolist() == [0, 1]


def test_another_version_of_scikit_learn_that_saved_a_model_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.joblib"
    request = {"file": str(file), "runs_code": True, "opsets": None}
    joblib.dump(LogisticRegression().fit(TABLE[["age"]], BOUGHT), file)
    assert answered(request, tmp_path)["made_with"] is None
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.2.3")
        joblib.dump(LogisticRegression().fit(TABLE[["age"]], BOUGHT), file)
    assert answered(request, tmp_path)["made_with"] == "1.2.3"


def test_the_process_apart_starts_without_what_starts_threads() -> None:
    code = "import sys, conch_tools.build.estimator_apart; print('numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.joblib"
    joblib.dump(fitted((StandardScaler(), ["age"])), file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Refusal, match="cannot be loaded"):
        loaded(file, runs_code=True)
