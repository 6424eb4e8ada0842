"""What can go wrong in a step, and who has to act.

    StepError
    ├── InvalidInput       the caller sent tensors that cannot be answered: INVALID_ARG (HTTP 400)
    ├── WrongAnswer        the model failed, or answered in an impossible shape: INTERNAL (HTTP 500)
    ├── OutOfTime          the caller has stopped waiting before the answer was ready: UNAVAILABLE (HTTP 503)
    ├── CallFailed         another model that the step called gave an error: UNAVAILABLE when it may pass, else INTERNAL
    ├── StoreFailed        what the step keeps on disk cannot be read or written: INTERNAL (HTTP 500), or not loaded
    ├── ModelConfigError   config.pbtxt asks for what the model or this machine does not give: not loaded
    └── ArtifactError      a file of the version folder is missing or was changed after the build: not loaded

Every message stands alone: it names the tensor, setting or file, says what is wrong with it and, where there
is one, the cure.
"""

from __future__ import annotations

from pathlib import Path

_MAY_PASS = ("is not ready", "not at ready state", "Exceeds maximum queue size", "Request timeout expired")
"""What Triton says of a model that cannot serve for the moment. Its words must tell, as calls between models lose the
code: every error arrives as INTERNAL (python_backend, request_executor.cc)."""


class StepError(Exception):
    """Root of all errors that steps raise on purpose."""


class InvalidInput(StepError):
    """The caller sent tensors that cannot be answered."""


class WrongAnswer(StepError):
    """The model failed, or answered in an impossible shape."""


class OutOfTime(StepError):
    """The request's own time limit is over, so the rest of the work is left undone."""


class CallFailed(StepError):
    """Another model that the step called gave an error: its queue is full, it is not loaded, it refused the rows."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(f"in model `{model}`: {message}")
        self.may_pass = any(words in message for words in _MAY_PASS)
        """Whether the same call may succeed soon."""


class StoreFailed(StepError):
    """What the step keeps on disk cannot be read or written: no space, no permission, no database."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


class ModelConfigError(StepError):
    """config.pbtxt asks for what the model or this machine does not give."""


class ArtifactError(StepError):
    """A file of the version folder is missing or was changed after the build."""
