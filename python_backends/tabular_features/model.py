"""Triton backend `tabular_features`: objects of named values in, FP32 rows out. The logic is conch_steps.features."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.feature_store import LOOKUP, StoredFeatures
from conch_steps.features import FeatureRows, schema_of
from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, answer_each


class TritonPythonModel:
    """Config parameter: `lookup`, a feature view of Feast's (default none: rows name no entity).

    Artifacts: `<version>/schema.json`; with `lookup`, a Feast repository in the version folder.
    """

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        view = LOOKUP.given(model)
        lookup = None if view is None else StoredFeatures(model.version_folder, view)
        self._features = FeatureRows(schema_of(model), lookup)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(
            pb_utils, requests, lambda request: {"rows": self._features.rows(request.tensor("features"))}
        )
