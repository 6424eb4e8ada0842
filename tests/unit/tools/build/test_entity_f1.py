"""An entity counts when its type and both its ends are right."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from conch_tools.build.entity_f1 import EntityF1, Span
from conch_tools.build.quality import BATCH, Tensors


class Served:
    """A pipeline that gives every text the same entities, and remembers how it was asked."""

    def __init__(self, *spans: Span) -> None:
        entities = [{"type": kind, "score": 1.0, "text": "", "start": start, "end": end} for kind, start, end in spans]
        self._answer = json.dumps(entities)
        self.batches: list[list[Any]] = []

    def __call__(self, tensors: Tensors) -> Tensors:
        self.batches.append(tensors["text"][:, 0].tolist())
        return {"entities": np.full(tensors["text"].shape, self._answer, dtype=np.object_)}


def test_an_entity_of_another_type_or_with_another_end_is_wrong() -> None:
    wanted: list[list[Span]] = [[("person", 0, 3), ("place", 7, 11), ("date", 20, 24)]]
    figures = EntityF1(["a text"], wanted).measure(Served(("person", 0, 3), ("product", 7, 11), ("date", 20, 25)))
    assert figures == pytest.approx({"f1": 1 / 3, "precision": 1 / 3, "recall": 1 / 3})


def test_too_much_costs_precision_and_too_little_recall() -> None:
    wanted: list[list[Span]] = [[("person", 0, 3)], [("person", 0, 3), ("place", 7, 11)], []]
    figures = EntityF1(["one", "two", "three"], wanted).measure(Served(("person", 0, 3)))
    assert figures == pytest.approx({"f1": 2 / 3, "precision": 2 / 3, "recall": 2 / 3})


def test_a_pipeline_that_finds_nothing_has_no_quality() -> None:
    assert EntityF1(["one"], [[("person", 0, 3)]]).measure(Served())["f1"] == 0


def test_texts_are_asked_in_batches_as_bytes() -> None:
    served = Served()
    EntityF1(["東京"] * (BATCH + 1), [[]] * (BATCH + 1)).measure(served)
    assert [len(batch) for batch in served.batches] == [BATCH, 1]
    assert served.batches[1] == ["東京".encode()]
