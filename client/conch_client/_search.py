"""The flows of a catalogue: what a search asks, what a change of the catalogue says, and how answers are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._call import Call
from ._constants import CHANGE_INPUT, OUTCOME_OUTPUT, QUERY_INPUT, RESULTS_OUTPUT
from ._errors import InferenceFailed, InvalidInput
from ._flows import Flow, _output, infer
from ._results import CatalogueChange, SearchResult
from ._spec import Catalog


def search(catalog: Catalog, call: Call, questions: Sequence[Mapping[str, object]]) -> Flow[list[list[SearchResult]]]:
    """Each question's results. Fields that are None are left out."""
    if not questions:
        return []
    given = [{name: value for name, value in question.items() if value is not None} for question in questions]
    rows = [[_json(question, call)] for question in given]
    outcome = yield from infer(catalog, call, lambda _: {QUERY_INPUT: rows}, {})
    answers = _output(outcome.result, RESULTS_OUTPUT, call).reshape(-1).tolist()
    return [_results(row, call) for row in answers]


def change(
    catalog: Catalog, call: Call, add: Iterable[Mapping[str, object]], remove: Iterable[str]
) -> Flow[CatalogueChange]:
    """One change, made as a whole or not at all."""
    row = _json({"add": list(add), "remove": list(remove)}, call)
    outcome = yield from infer(catalog, call, lambda _: {CHANGE_INPUT: [[row]]}, {})
    (answer,) = _output(outcome.result, OUTCOME_OUTPUT, call).reshape(-1).tolist()
    try:
        return CatalogueChange(**json.loads(answer))
    except (TypeError, ValueError) as exc:
        raise _unreadable(OUTCOME_OUTPUT, "an object of counts and the revision", answer, call) from exc


def _results(row: str, call: Call) -> list[SearchResult]:
    try:
        return [SearchResult(**each) for each in json.loads(row)]
    except (TypeError, ValueError) as exc:
        raise _unreadable(RESULTS_OUTPUT, "a list of id, score and item", row, call) from exc


def _json(value: Mapping[str, Any], call: Call) -> str:
    try:
        return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as exc:
        raise call.error(InvalidInput, f"it cannot be written as JSON: {exc}") from exc


def _plain(value: object) -> object:
    """Mappings and iterables of any kind as JSON has them."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"a {type(value).__name__} has no place in JSON")


def _unreadable(tensor: str, wanted: str, answer: str, call: Call) -> InferenceFailed:
    return call.error(InferenceFailed, f"the answer cannot be read: {tensor} is not {wanted}: {answer!r:.80}")
