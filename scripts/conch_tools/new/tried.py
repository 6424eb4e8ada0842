"""What a tabular model answers to rows that are made up: whether that is probabilities, which rows tell the most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conch_tools.build.tabular_model import Scores, TabularModel, Values, made_up, matrix_of
from conch_tools.pipelines import Feature

TRIED_ROWS = 64
SHOWN_ROWS = 2
ROUNDING = 1e-5
"""By which a sum of many trees may be above 1."""


def tried(model: TabularModel, features: Mapping[str, Feature]) -> tuple[Scores, Sequence[Values]]:
    """Whether a model answers probabilities itself, or logits that must become some, which no file tells; and the rows
    that it is most sure of, of two classes where it ever says two. Raises BuildError when it refuses such rows.
    """
    rows = made_up(features, model.columns, TRIED_ROWS)
    answers = model.answers(matrix_of(features, rows))
    within = (answers >= -ROUNDING) & (answers <= 1 + ROUNDING)
    scores: Scores = "probabilities" if within.all() else "logits"
    ordered = np.sort(answers, axis=1)
    margin, best = ordered[:, -1] - ordered[:, -2], answers.argmax(axis=1)
    surest = [max(np.flatnonzero(best == label), key=lambda row: float(margin[row])) for label in sorted(set(best))]
    return scores, [rows[index] for index in surest[:SHOWN_ROWS]]
