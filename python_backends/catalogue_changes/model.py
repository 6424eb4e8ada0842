"""Triton backend `catalogue_changes`: BYTES changes in, what they did out. Its logic: conch_steps.catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from conch_steps.calls import MAX_ROWS, ModelCalls
from conch_steps.catalogue import Catalogue, database_file
from conch_steps.catalogue_items import read_changes
from conch_steps.catalogue_seed import Seed
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, StepRequest, Tensors, answer_each
from conch_steps.text_embedder import MODEL, TextEmbedder


class TritonPythonModel:
    """Config parameters: `catalogue`, the database's name; `state`, its folder (default: the variable CONCH_STATE);
    `model`, the pipeline that embeds, and `max_rows`, its maximum batch. Artifacts: the seed that
    conch_steps.catalogue_seed reads.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        rows = MAX_ROWS.of(model)
        self._catalogue = Catalogue(database_file(model), Seed.read(model.version_folder))
        self._embed = TextEmbedder(ModelCalls(pb_utils, MODEL.of(model), rows), rows)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, self._change)

    def _change(self, request: StepRequest) -> Tensors:
        changes = read_changes(request.tensor("change").reshape(-1))
        vectors = self._embed([item.embedded_text for change in changes for item in change.add])
        outcomes = [outcome.model_dump_json().encode() for outcome in self._catalogue.apply(changes, vectors)]
        return {"outcome": np.array(outcomes, dtype=np.object_).reshape(-1, 1)}
