"""The flows of a catalogue: what a search asks, what a change of the catalogue says, and how answers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import _arguments as arguments
from .._call import Call
from .._cast import Misfit
from .._constants import CHANGE_INPUT, OUTCOME_OUTPUT, QUERY_INPUT, RESULTS_OUTPUT
from .._errors import InvalidInput
from .._json import as_json
from .._results import CatalogueChange, SearchResult
from .._spec import Catalog
from .inference import Flow, infer, json_output

Found = list[SearchResult] | list[list[SearchResult]]


def search(catalog: Catalog, call: Call, query: object, *, k: object = None, filter: object = None) -> Flow[Found]:
    queries = arguments.texts("query", query, call)
    found = yield from _ask_each(catalog, call, [{"text": text} for text in queries], k, filter)
    return found[0] if isinstance(query, str) else found


def similar(catalog: Catalog, call: Call, item: object, *, k: object = None, filter: object = None) -> Flow[Found]:
    ids = arguments.texts("item", item, call)
    found = yield from _ask_each(catalog, call, [{"item": name} for name in ids], k, filter)
    return found[0] if isinstance(item, str) else found


def recommend(
    catalog: Catalog, call: Call, liked: object, disliked: object, *, k: object = None, filter: object = None
) -> Flow[list[SearchResult]]:
    question = {"liked": arguments.texts("liked", liked, call), "disliked": arguments.texts("disliked", disliked, call)}
    taste = {name: ids for name, ids in question.items() if ids or name == "liked"}
    return (yield from _ask_each(catalog, call, [taste], k, filter))[0]


def _ask_each(
    catalog: Catalog, call: Call, questions: Sequence[Mapping[str, object]], k: object, filter: object
) -> Flow[list[list[SearchResult]]]:
    """Each question's results, all with the same number and filter, where they are given."""
    limits: dict[str, object] = {}
    if k is not None:
        limits["k"] = arguments.count("k", k, call)
    if filter is not None:
        limits["filter"] = arguments.mapping("filter", filter, call)
    if not questions:
        return []
    rows = [[_row("filter", {**question, **limits}, call)] for question in questions]
    outcome = yield from infer(catalog, call, lambda _: {QUERY_INPUT: rows}, {})
    return json_output(outcome, RESULTS_OUTPUT, "a list of id, score and item", _results, call)


def _results(row: Any) -> list[SearchResult]:
    return [SearchResult(**each) for each in row]


def change_catalogue(catalog: Catalog, call: Call, add: object, remove: object) -> Flow[CatalogueChange]:
    """One change, made as a whole or not at all."""
    change = {"add": arguments.mappings("add", add, call), "remove": arguments.texts("remove", remove, call)}
    row = _row("add", change, call)
    outcome = yield from infer(catalog, call, lambda _: {CHANGE_INPUT: [[row]]}, {})
    wanted = "an object of counts and the revision"
    return json_output(outcome, OUTCOME_OUTPUT, wanted, lambda counts: CatalogueChange(**counts), call)[0]


def _row(argument: str, value: Mapping[str, object], call: Call) -> str:
    """The value as JSON. Only the argument named can hold what JSON does not have: all others are checked."""
    try:
        return as_json(value)
    except Misfit as misfit:
        raise call.error(InvalidInput, f"{argument} {misfit}") from misfit
