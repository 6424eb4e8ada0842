"""The flows that end in labels with scores: the model's own labels, or the caller's for images and for texts."""

from __future__ import annotations

from .. import _arguments as arguments
from .._call import Call
from .._cast import Array
from .._constants import (
    HYPOTHESIS_TEMPLATE_PARAMETER,
    IMAGE_INPUT,
    LABEL_OUTPUT,
    LABELS_INPUT,
    MULTI_LABEL_PARAMETER,
    SCORE_OUTPUT,
    TOP_K_PARAMETER,
)
from .._results import Classification
from .._spec import Catalog
from .inference import Flow, Outcome, infer, output, public_input, unreadable

Classified = Classification | list[Classification]


def classify(catalog: Catalog, call: Call, inputs: object, *, top_k: object = None) -> Flow[Classified]:
    parameters = arguments.task_parameters({TOP_K_PARAMETER: top_k}, call)
    items = arguments.rereadable("inputs", inputs, call)
    if arguments.is_empty(items):
        return []
    outcome = yield from infer(catalog, call, lambda spec: {public_input(spec, call): items}, parameters)
    return _classified(outcome, call)


def match(
    catalog: Catalog,
    call: Call,
    images: object,
    labels: object,
    *,
    hypothesis_template: object = None,
    top_k: object = None,
) -> Flow[Classified]:
    given = {HYPOTHESIS_TEMPLATE_PARAMETER: hypothesis_template, TOP_K_PARAMETER: top_k}
    parameters = arguments.task_parameters(given, call)
    asked = arguments.labels(labels, call)
    items = arguments.rereadable("images", images, call)
    if arguments.is_empty(items):
        return []
    count = _images_in(items)
    rows = asked if count is None else [asked] * count
    outcome = yield from infer(catalog, call, lambda _: {IMAGE_INPUT: items, LABELS_INPUT: rows}, parameters)
    return _classified(outcome, call)


def _images_in(images: object) -> int | None:
    """How many there are; None for a single one, be it a path, bytes, a picture or its pixels."""
    if isinstance(images, list | tuple):
        return len(images)
    shape = arguments.shape_of(images)
    return shape[0] if len(shape) in (1, 4) else None


def zero_shot(
    catalog: Catalog,
    call: Call,
    texts: object,
    labels: object,
    *,
    multi_label: object = None,
    hypothesis_template: object = None,
) -> Flow[Classified]:
    given = {HYPOTHESIS_TEMPLATE_PARAMETER: hypothesis_template, MULTI_LABEL_PARAMETER: multi_label}
    parameters = arguments.task_parameters(given, call)
    asked = arguments.labels(labels, call)
    items = texts if isinstance(texts, str) else arguments.texts("texts", texts, call)
    if items == []:
        return []
    rows = asked if isinstance(items, str) else [asked] * len(items)
    outcome = yield from infer(
        catalog, call, lambda spec: {public_input(spec, call): items, LABELS_INPUT: rows}, parameters
    )
    return _classified(outcome, call)


def _classified(outcome: Outcome, call: Call) -> Classified:
    """One of the outputs [labels] for one item, a list of the outputs [n, labels] for several."""
    labels = output(outcome, LABEL_OUTPUT, call)
    scores = output(outcome, SCORE_OUTPUT, call)
    single = labels.ndim == 1 if outcome.items is None else outcome.one_item
    if labels.shape != scores.shape or labels.size == 0 or labels.ndim != (1 if single else 2):
        shapes = f"{LABEL_OUTPUT} {list(labels.shape)} and {SCORE_OUTPUT} {list(scores.shape)}"
        raise unreadable(f"{shapes} do not go together", call)
    if single:
        return _classification(labels, scores)
    return [_classification(*pair) for pair in zip(labels, scores, strict=True)]


def _classification(labels: Array, scores: Array) -> Classification:
    """From labels and scores of one item, best first."""
    ranking: dict[str, float] = {}
    for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
        # A model may have two classes of one name; the first is the better one.
        ranking.setdefault(label, score)
    label, score = next(iter(ranking.items()))
    return Classification(label=label, score=score, scores=ranking)
