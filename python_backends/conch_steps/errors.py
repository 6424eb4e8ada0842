"""What can go wrong in a step, and who has to act.

    StepError
    ├── InvalidInput       the caller sent tensors that cannot be answered: INVALID_ARG (HTTP 400)
    ├── WrongAnswer        the model failed, or answered in an impossible shape: INTERNAL (HTTP 500)
    ├── CallFailed         another model that the step called gave an error, which keeps its code
    ├── ModelConfigError   config.pbtxt asks for what the model or this machine does not give: not loaded
    └── ArtifactError      a file of the version folder is missing or was changed after the build: not loaded

Every message stands alone: it names the tensor, setting or file, says what is wrong with it and, where there
is one, the cure.
"""

from __future__ import annotations


class StepError(Exception):
    """Root of all errors that steps raise on purpose."""


class InvalidInput(StepError):
    """The caller sent tensors that cannot be answered."""


class WrongAnswer(StepError):
    """The model failed, or answered in an impossible shape."""


class CallFailed(StepError):
    """Another model that the step called gave an error: its queue is full, it is not loaded, it refused the rows."""

    def __init__(self, model: str, message: str, code: int) -> None:
        super().__init__(f"in model `{model}`: {message}")
        self.code = code
        """Triton's error code, of the pb_utils.TritonError constants."""


class ModelConfigError(StepError):
    """config.pbtxt asks for what the model or this machine does not give."""


class ArtifactError(StepError):
    """A file of the version folder is missing or was changed after the build."""
