"""What the source itself answers to a pipeline's samples, in the form that pipeline.toml expects it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SHOWN_NUMBERS = 4
DIGITS = 4
UNSAID = "score"
"""How sure a model is differs from variant to variant; what it says must not."""
RANKINGS = ("answers", "fills")
"""Lists whose first thing is the best; of those behind it, two that are near may change places."""


def expected_answers(folder: Path) -> list[dict[str, Any]]:
    """Of each sample of the pipeline in `folder`. Raises BuildError."""
    from conch_tools.build.builder import builder_of
    from conch_tools.build.reference import byte_item
    from conch_tools.pipelines import load_pipeline

    pipeline = load_pipeline(folder)
    items = [byte_item(**pipeline.sample_inputs(sample)) for sample in pipeline.samples]
    answers = builder_of(pipeline).reference(items).answers
    return [expected({name: rows[index] for name, rows in answers.items()}) for index in range(len(items))]


def expected(answer: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """What a sample expects of one answer: the best label, the first numbers, all that a list of things says."""
    found = {name: _expected(row) for name, row in answer.items() if name != UNSAID}
    return {name: value[:1] if name in RANKINGS else value for name, value in found.items()}


def _expected(row: npt.NDArray[Any]) -> Any:
    if row.dtype != np.object_:
        return [round(float(number), DIGITS) for number in row.flat[:SHOWN_NUMBERS]]
    text = row.flat[0].decode()
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return _without_scores(found) if isinstance(found, list | dict) else text


def _without_scores(found: Any) -> Any:
    if isinstance(found, list):
        return [_without_scores(each) for each in found]
    if isinstance(found, dict):
        return {key: _without_scores(value) for key, value in found.items() if key != UNSAID}
    return found
