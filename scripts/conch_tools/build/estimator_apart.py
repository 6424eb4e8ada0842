"""What runs apart for a scikit-learn model: load it, tell of it, convert it, answer rows. See apart.py.

The process has neither torch nor anything of the server: it starts in a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch_tools.build.apart_inside import GRAPH, ROWS, SCORES, Refusal, serve
from conch_tools.errors import first_line

SKOPS = ".skops"


@dataclass(frozen=True)
class Estimator:
    """A fitted classifier and its columns."""

    model: Any
    names: Sequence[str]
    """In the order in which it was fitted."""
    has_names: bool
    """Whether it was fitted with these names, and wants a table with them."""
    categories: Mapping[str, Any]
    """The NumPy array of the categories of a column that is one."""


def answered(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the model tells of itself; scores and graph lie in the folder then, where they are asked for."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = loaded(Path(request["file"]), request["runs_code"])
    estimator = examined(model, request["file"])
    if (folder / ROWS).is_file():
        _write_scores(estimator, folder)
    if request["opsets"]:
        _write_graph(estimator, request["opsets"], folder)
    categories, usual = estimator.categories, dict(usual_of(model, estimator.names))
    return {
        "columns": [
            {
                "name": name,
                "values": categories[name].tolist() if name in categories else [],
                "usual": [float(bound) for bound in usual[name]] if name in usual else None,
            }
            for name in estimator.names
        ],
        "labels": [str(each) for each in model.classes_],
        "made_with": _made_with(warned),
    }


def loaded(file: Path, runs_code: bool) -> Any:
    """The object in a file. Raises Refusal."""
    try:
        if file.suffix == SKOPS:
            return _from_skops(file, runs_code)
        import joblib

        # It reads plain pickles as well.
        return joblib.load(file)
    except Refusal:
        raise
    except ModuleNotFoundError as problem:
        raise Refusal(f"{file} needs the module {problem.name}, which is not installed here: install it") from problem
    except Exception as problem:
        raise Refusal(f"{file} cannot be loaded: {type(problem).__name__}: {first_line(problem)}") from problem


def _from_skops(file: Path, runs_code: bool) -> Any:
    try:
        from skops.io import get_untrusted_types, load
    except ImportError as problem:
        raise Refusal("a .skops file needs skops: pip install skops") from problem
    unknown = get_untrusted_types(file=file)
    if unknown and not runs_code:
        raise Refusal(
            f"{file} holds what skops does not know to be safe: {', '.join(unknown)}. If you trust who made it, set "
            "runs_code = true in [source], or give --trust to conch new"
        )
    return load(file, trusted=unknown)


def examined(model: Any, file: str) -> Estimator:
    """What the model is. Raises Refusal for one that is no classifier of a table."""
    from sklearn.base import is_classifier

    if not hasattr(model, "fit") or not hasattr(model, "__sklearn_tags__"):
        raise Refusal(f"{file} holds a {type(model).__name__}, which is no scikit-learn model")
    if not is_classifier(model):
        raise Refusal(f"{file} holds a {_kind(model)}, which is no classifier: tabular-classification needs one")
    if not hasattr(model, "classes_") or not hasattr(model, "n_features_in_"):
        raise Refusal(f"{file} holds a {_kind(model)} that was not fitted to a table of columns: save it after `fit`")
    if not hasattr(model, "predict_proba"):
        raise Refusal(
            f"{file} holds a {_kind(model)}, which has no predict_proba: wrap it in CalibratedClassifierCV, and fit it"
        )
    if isinstance(model.classes_, list):
        raise Refusal(f"{file} holds a {_kind(model)} with several outputs, each with classes of its own: give it one")
    has_names = hasattr(model, "feature_names_in_")
    names = [str(each) for each in model.feature_names_in_] if has_names else _numbered(model.n_features_in_)
    return Estimator(model, names, has_names, dict(categories_of(model, names)))


def parts_of(model: Any, columns: Sequence[str]) -> Iterator[tuple[Any, Sequence[str]]]:
    """The parts of a model that see columns of its table as they are, each with these columns."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline):
        for _, step in model.steps:
            yield from parts_of(step, columns)
            if not isinstance(step, SimpleImputer) and step != "passthrough":
                # What comes behind has columns of its own.
                return
    elif isinstance(model, ColumnTransformer):
        for _, part, chosen in model.transformers_:
            names = np.atleast_1d(np.asarray(columns, dtype=object)[_positions(chosen, columns)])
            yield from parts_of(part, list(names))
    elif hasattr(model, "best_estimator_"):
        yield from parts_of(model.best_estimator_, columns)
    else:
        yield model, columns


def categories_of(model: Any, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The columns that an encoder within the model takes as categories, each with what it knows."""
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    for part, seen in parts_of(model, columns):
        if isinstance(part, OneHotEncoder | OrdinalEncoder | TargetEncoder):
            for name, known in zip(seen, part.categories_, strict=True):
                yield name, known[[value is not None and value == value for value in known]]


def usual_of(model: Any, columns: Sequence[str]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Where the numbers of a column lie, as far as a part of the model that was fitted to them tells."""
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    for part, seen in parts_of(model, columns):
        if isinstance(part, StandardScaler) and part.mean_ is not None and part.scale_ is not None:
            yield from zip(
                seen, zip(part.mean_ - 2 * part.scale_, part.mean_ + 2 * part.scale_, strict=True), strict=True
            )
        elif isinstance(part, MinMaxScaler):
            yield from zip(seen, zip(part.data_min_, part.data_max_, strict=True), strict=True)
        else:
            yield from _cuts(part, seen)


def _cuts(part: Any, columns: Sequence[str]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Of a tree, or of what is made of trees: around where they part the values of a column."""
    members = getattr(part, "estimators_", [part])
    trees = [each.tree_ for each in getattr(members, "flat", members) if hasattr(each, "tree_")]
    for index, name in enumerate(columns):
        cuts = [cut for tree in trees for cut in tree.threshold[tree.feature == index]]
        if cuts:
            margin = (max(cuts) - min(cuts)) / 2 or abs(cuts[0]) or 1.0
            yield name, (min(cuts) - margin, max(cuts) + margin)


def _positions(chosen: Any, columns: Sequence[str]) -> Any:
    """Where a ColumnTransformer's columns are: it takes names, numbers, a slice or truth values."""
    if isinstance(chosen, str):
        return columns.index(chosen)
    if isinstance(chosen, slice):
        return chosen
    return [columns.index(each) if isinstance(each, str) else each for each in chosen]


def _write_scores(estimator: Estimator, folder: Path) -> None:
    import numpy as np

    table = _table(estimator, np.load(folder / ROWS, allow_pickle=False))
    try:
        scores = estimator.model.predict_proba(table)
    except Exception as problem:
        raise Refusal(
            f"its predict_proba refuses rows of numbers and known categories: {first_line(problem)}"
        ) from problem
    np.save(folder / SCORES, np.asarray(scores, dtype=np.float64), allow_pickle=False)


def _table(estimator: Estimator, rows: Any) -> Any:
    """Rows as the model was fitted with: a table with names where it has some, categories for their indices."""
    import numpy as np
    import pandas as pd

    columns = {
        name: estimator.categories[name][rows[:, index].astype(np.int64)]
        if name in estimator.categories
        else rows[:, index].astype(np.float64)
        for index, name in enumerate(estimator.names)
    }
    if estimator.has_names:
        return pd.DataFrame(columns)
    mixed = len({each.dtype.kind for each in columns.values()}) > 1
    return np.column_stack([each.astype(object) if mixed else each for each in columns.values()])


def _write_graph(estimator: Estimator, opsets: Mapping[str, int], folder: Path) -> None:
    from skl2onnx import convert_sklearn

    try:
        converted = convert_sklearn(
            estimator.model,
            initial_types=_initial_types(estimator),
            options={"zipmap": False},
            target_opset=opsets,
        )
    except Exception as problem:
        raise Refusal(f"skl2onnx cannot convert the {_kind(estimator.model)}: {first_line(problem)}") from problem
    (folder / GRAPH).write_bytes(converted.SerializeToString())


def _initial_types(estimator: Estimator) -> list[tuple[str, Any]]:
    """One input for all columns where they are of one type and no part of the model asks for them by name."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    model = getattr(estimator.model, "best_estimator_", estimator.model)
    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    types = [_onnx_type(estimator.categories.get(name)) for name in estimator.names]
    if isinstance(first, ColumnTransformer) or len(set(types)) > 1:
        return [(name, kind([None, 1])) for name, kind in zip(estimator.names, types, strict=True)]
    return [("rows", types[0]([None, len(types)]))]


def _onnx_type(categories: Any) -> Any:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    if categories is None or categories.dtype.kind == "f":
        return FloatTensorType
    return Int64TensorType if categories.dtype.kind in "iub" else StringTensorType


def _made_with(warned: Sequence[warnings.WarningMessage]) -> str | None:
    """The version of scikit-learn that the model was saved with, where it is another one."""
    from sklearn.exceptions import InconsistentVersionWarning

    others = [each.message for each in warned if isinstance(each.message, InconsistentVersionWarning)]
    return str(others[0].original_sklearn_version) if others else None


def _numbered(columns: int) -> list[str]:
    return [f"feature_{index}" for index in range(columns)]


def _kind(model: Any) -> str:
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    return type(last).__name__


if __name__ == "__main__":
    serve(answered)
