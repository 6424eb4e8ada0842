"""The flows of pipelines that read texts: their embeddings, the entities in them, the answers they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _arguments as arguments
from .._call import Call
from .._constants import (
    AGGREGATION_PARAMETER,
    ANSWERS_OUTPUT,
    CONTEXT_INPUT,
    EMBEDDING_OUTPUT,
    ENTITIES_OUTPUT,
    IMPOSSIBLE_ANSWER_PARAMETER,
    MAX_ANSWER_PARAMETER,
    QUESTION_INPUT,
    TOP_K_PARAMETER,
)
from .._errors import InvalidInput
from .._results import Answer, Entity
from .._spec import Catalog
from .inference import Flow, infer, json_output, known, output, public_input


def embed(catalog: Catalog, call: Call, texts: object) -> Flow[NDArray[np.float32]]:
    items = arguments.rereadable("texts", texts, call)
    if arguments.is_empty(items):
        spec = yield from known(catalog, call)
        embedding = spec.outputs.get(EMBEDDING_OUTPUT)
        return np.empty((0, max(embedding.dims[-1], 0) if embedding and embedding.dims else 0), dtype=np.float32)
    outcome = yield from infer(catalog, call, lambda spec: {public_input(spec, call): items}, {})
    return output(outcome, EMBEDDING_OUTPUT, call).astype(np.float32, copy=False)


def entities(
    catalog: Catalog, call: Call, texts: object, *, aggregation_strategy: object = None
) -> Flow[list[Entity] | list[list[Entity]]]:
    parameters = arguments.task_parameters({AGGREGATION_PARAMETER: aggregation_strategy}, call)
    items = arguments.rereadable("texts", texts, call)
    if arguments.is_empty(items):
        return []
    outcome = yield from infer(catalog, call, lambda spec: {public_input(spec, call): items}, parameters)
    wanted = "a list of type, score, text, start and end"
    found = json_output(outcome, ENTITIES_OUTPUT, wanted, _entities, call)
    return found[0] if outcome.one_item else found


def _entities(row: Any) -> list[Entity]:
    return [Entity(**each) for each in row]


def answer(
    catalog: Catalog,
    call: Call,
    question: object,
    context: object,
    *,
    top_k: object = None,
    max_answer_tokens: object = None,
    handle_impossible_answer: object = None,
) -> Flow[Answer | list[Answer]]:
    given = {
        TOP_K_PARAMETER: top_k,
        MAX_ANSWER_PARAMETER: max_answer_tokens,
        IMPOSSIBLE_ANSWER_PARAMETER: handle_impossible_answer,
    }
    parameters = arguments.task_parameters(given, call)
    pairs = _pairs(question, context, call)
    if not pairs:
        return []
    tensors = {QUESTION_INPUT: [[each] for each, _ in pairs], CONTEXT_INPUT: [[each] for _, each in pairs]}
    outcome = yield from infer(catalog, call, lambda _: tensors, parameters)
    answers = json_output(outcome, ANSWERS_OUTPUT, "a list of text, score, start and end", _answer, call)
    return answers[0] if isinstance(question, str) and isinstance(context, str) else answers


def _pairs(question: object, context: object, call: Call) -> list[tuple[str, str]]:
    """Question and context of each row; a single text goes with each of the other."""
    questions, contexts = arguments.texts("question", question, call), arguments.texts("context", context, call)
    if isinstance(question, str):
        questions *= len(contexts)
    elif isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        sizes = f"{len(questions)} questions and {len(contexts)} contexts"
        raise call.error(InvalidInput, f"{sizes} do not go together: give as many of each, or one text for all")
    return list(zip(questions, contexts, strict=True))


def _answer(row: Any) -> Answer:
    """From the list of one row, best first."""
    best, *others = (Answer(**each) for each in row)
    return replace(best, others=tuple(others))
