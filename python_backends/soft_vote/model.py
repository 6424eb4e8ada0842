"""Triton backend `soft_vote`: each member's FP32 probabilities in, their weighted average out.

The logic is conch_steps.soft_vote.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils

from conch_steps.manifest import verify_manifest
from conch_steps.serving import StepModel, answer_each
from conch_steps.soft_vote import SoftVote


class TritonPythonModel:
    """Inputs: one tensor a member, by its name. Artifact: `<version>/members.json`, the members' weights."""

    def initialize(self, args: dict[str, str]) -> None:
        model = StepModel.from_args(args)
        verify_manifest(model.version_folder)
        self._vote = SoftVote.load(model)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer_each(pb_utils, requests, lambda request: {"probabilities": self._vote.average(request.tensor)})
