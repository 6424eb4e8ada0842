"""Triton backend `catalogue_search`: BYTES questions in, items best first out. Its logic: conch_steps.retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.catalogue import Catalogue, database_file
from conch_steps.catalogue_seed import Seed
from conch_steps.manifest import verify_manifest
from conch_steps.retrieval import EXACT, Retrieval
from conch_steps.retrieval_query import TENSOR, Question, read_question
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each
from conch_steps.text_embedder import MODEL, TextEmbedder


class TritonPythonModel:
    """Config parameters: `catalogue`, the database's name; `state`, its folder (default: the variable CONCH_STATE);
    `model`, the pipeline that embeds, and `max_rows`, its maximum batch; `exact_up_to`, the number of candidates that
    are compared one by one. Artifacts: the seed that conch_steps.catalogue_seed reads.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        seed = Seed.read(model.version_folder)
        rows = MAX_ROWS.of(model)
        self._retrieval = Retrieval(
            Catalogue(database_file(model), seed),
            TextEmbedder(ModelCalls(pb_utils, MODEL.of(model), rows), rows),
            seed.vectors.shape[1],
            EXACT.of(model),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        answers = iter(self._retrieval.answer([_questions(StepRequest(request)) for request in requests]))
        return answer_each(pb_utils, requests, lambda _: _given(next(answers)))


def _questions(request: StepRequest) -> Sequence[Question] | Exception:
    try:
        rows = request.tensor(TENSOR).reshape(-1)
        return [read_question(raw, f"`{TENSOR}`[{index}]") for index, raw in enumerate(rows)]
    except Exception as problem:
        return problem


def _given(answer: Any) -> Tensors:
    if isinstance(answer, Exception):
        raise answer
    return {"results": answer}
