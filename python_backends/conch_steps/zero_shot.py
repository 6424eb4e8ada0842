"""Zero-shot text classification: the labels come with the request, not with the model.

A request is texts, their labels and a template that turns a label into a sentence, the hypothesis. How well a text and
a hypothesis go together is asked of another model: a sentence encoder (conch_steps.zero_shot_similarity) or a model of
natural-language inference (conch_steps.zero_shot_entailment). What both share is here: reading, refusing and ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.errors import InvalidInput, WrongAnswer
from conch_steps.parameters import Parameter, whole_number
from conch_steps.serving import StepModel, StepRequest
from conch_steps.texts import read_texts, utf8

MAX_LABEL_BYTES = 1024
MAX_TEMPLATE_CHARACTERS = 512
MAX_LABELS = 1000
"""Labels of one text, unless config parameter `max_labels` says otherwise."""
MAX_ROWS = 8192
"""Rows for the model that one request may become: it keeps everyone else waiting for so many."""
SLOT = "{}"
"""Where the label goes in a template."""
TEMPLATE_WANTED = f"a text of at most {MAX_TEMPLATE_CHARACTERS} characters with {SLOT} once, where the label goes"


@dataclass(frozen=True)
class Rules:
    """What a served model allows, from its config parameters."""

    template: str
    """Taken when the request brings none."""
    max_labels: int = MAX_LABELS

    @classmethod
    def of(cls, model: StepModel) -> Rules:
        """From the config parameters. Raises ModelConfigError."""
        return cls(TEMPLATE.of(model), LABELS_OF_A_TEXT.of(model))


@dataclass(frozen=True)
class Question:
    """One request: n texts, k labels for each of them."""

    texts: Sequence[str]
    labels: npt.NDArray[np.object_]
    """UTF-8 bytes [n, k], as they came."""
    hypotheses: Sequence[Sequence[str]]
    """The sentence of each label: n rows of k."""
    multi_label: bool
    """Whether each label is judged for itself, so that several or none may be true."""


def read_question(request: StepRequest, rules: Rules) -> Question:
    """Tensors `text` BYTES [n, 1] and `labels` BYTES [n, k], parameters `hypothesis_template` and `multi_label`.

    Raises InvalidInput for what cannot be answered: no labels, empty or repeated ones, too many, bytes that are not
    UTF-8. A repeated label is refused because it would take a share of the scores twice.
    """
    texts = read_texts(request.tensor("text"), "text")
    labels = request.tensor("labels")
    if len(texts) != len(labels):
        raise InvalidInput(f"`labels` has {len(labels)} rows for {len(texts)} texts: send one row of labels a text")
    labels = labels.reshape(len(texts), -1)
    count = labels.shape[1]
    if not 0 < count <= rules.max_labels:
        raise InvalidInput(f"`labels` names {count} labels for a text, must be from 1 to {rules.max_labels}")
    template = checked_template(request.parameters.get("hypothesis_template", rules.template))
    # Rows of a batch mostly name the same labels, which are then read once.
    sentences: dict[tuple[bytes, ...], list[str]] = {}
    for index, row in enumerate(map(tuple, labels)):
        if row not in sentences:
            sentences[row] = [template.replace(SLOT, label) for label in checked_labels(row, index)]
    return Question(
        texts=texts,
        labels=labels,
        hypotheses=[sentences[tuple(row)] for row in labels],
        multi_label=_flag("multi_label", request.parameters.get("multi_label", False)),
    )


def checked_template(template: object) -> str:
    """The template. Raises InvalidInput unless the label has exactly one place in it."""
    if isinstance(template, str) and template.count(SLOT) == 1 and len(template) <= MAX_TEMPLATE_CHARACTERS:
        return template
    raise InvalidInput(f"parameter `hypothesis_template` is {template!r:.80}, but must be {TEMPLATE_WANTED}")


TEMPLATE = Parameter("hypothesis_template", TEMPLATE_WANTED, checked_template)
LABELS_OF_A_TEXT = whole_number("max_labels", MAX_LABELS)


def require_rows(count: int) -> None:
    """Raise InvalidInput when a request becomes more rows for the model than one may."""
    if count > MAX_ROWS:
        raise InvalidInput(
            f"texts and labels of this request make {count} rows for the model, the limit is {MAX_ROWS}: "
            "send it in several requests"
        )


def ranked(labels: npt.NDArray[np.object_], scores: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """`label` BYTES [n, k] and `score` FP32 [n, k], best first; equal scores keep the order of the request.

    Raises WrongAnswer for scores that are not numbers.
    """
    if np.isnan(scores).any():
        raise WrongAnswer("the model gives no scores (NaN): it overflowed, or its file is damaged")
    order = np.argsort(-scores, axis=1, kind="stable")
    return {
        "label": np.take_along_axis(labels, order, axis=1),
        "score": np.take_along_axis(scores, order, axis=1).astype(np.float32),
    }


def checked_labels(row: Sequence[bytes], index: int) -> list[str]:
    """The labels of row `index` as texts. Raises InvalidInput for an empty one, a repeated one, or no UTF-8."""
    labels = [utf8(raw, f"`labels`[{index}][{place}]", MAX_LABEL_BYTES) for place, raw in enumerate(row)]
    seen: set[str] = set()
    for place, label in enumerate(labels):
        if not label.strip():
            raise InvalidInput(f"`labels`[{index}][{place}] is empty: leave it out")
        if label in seen:
            raise InvalidInput(f"`labels`[{index}] names {label!r:.80} twice: name each label once")
        seen.add(label)
    return labels


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter `{name}` is {value!r:.40}, but must be true or false")
    return value
