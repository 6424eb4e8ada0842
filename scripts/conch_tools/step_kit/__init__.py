"""Run a Triton Python step, its real model.py, without Triton: load it, ask it, mix and fuzz its requests.

    with load_step("model_repository/mood", backends="python_backends") as step:
        answer = step.infer({"text": [["good"]]})

The stand-in for `triton_python_backend_utils` follows Triton's sources (python_backend and core of the GitHub
organisation triton-inference-server, branch r24.10), and a test compares both on the same models. docs/step-tests.md
says what the kit cannot do.
"""

from conch_tools.errors import ContractBroken, StepFailed, StepNotLoaded
from conch_tools.step_kit.ensemble import Ensemble
from conch_tools.step_kit.repository import StepRepository
from conch_tools.step_kit.step import Step, load_step
from conch_tools.step_kit.talk import Reply, Request, Response

__all__ = [
    "ContractBroken",
    "Ensemble",
    "Reply",
    "Request",
    "Response",
    "Step",
    "StepFailed",
    "StepNotLoaded",
    "StepRepository",
    "load_step",
]
