"""The labelled texts of zero-shot classification, and the accuracy measured on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from conch_tools.build.zero_shot_data import LabelledTexts, ZeroShotAccuracy, labelled_texts


def test_what_the_template_was_chosen_by_is_not_what_is_measured() -> None:
    choice, heldout = labelled_texts("choice"), labelled_texts("heldout")
    assert not {text for each in choice for text in each.texts} & {text for each in heldout for text in each.texts}
    assert not {label for each in choice for label in each.labels} & {
        label for each in heldout for label in each.labels
    }
    assert sum(len(each.texts) for each in heldout) >= 60


def test_accuracy_counts_best_labels_among_all_of_their_set() -> None:
    asked: list[list[bytes]] = []

    def ask(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.extend(tensors["labels"].tolist())
        best = ["food" if b"eat" in text else "rain" for text in tensors["text"][:, 0]]
        return {"label": np.array([[label] for label in best], dtype=object)}

    weather = LabelledTexts(["it pours", "we eat outside"], ["rain", "sun"])
    meals = LabelledTexts(["eat up"] * 40, ["food"] * 40)
    assert ZeroShotAccuracy([weather, meals]).measure(ask) == {"accuracy": 41 / 42}
    assert asked == [[b"rain", b"sun"]] * 2 + [[b"food"]] * 40
