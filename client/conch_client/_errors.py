"""What can go wrong when you call a model, as one tree.

    ConchError                  anything below, with the model, version, endpoint and request it happened to
    ├── InvalidInput            what was given does not fit the model: change the call
    ├── ModelNotFound           the server does not have this model, or not this version of it
    ├── ServerUnavailable       nobody answers at the address, or the server has no room: try again later
    │   └── ModelNotReady       the server answers, but the model cannot serve: it is loading, or its process died
    ├── DeadlineExceeded        the time of the call, or the time the model allows in its queue, ran out
    ├── PermissionDenied        the server refuses this caller: trying again does not help
    ├── Cancelled               the call was cancelled, or its client was closed
    └── InferenceFailed         the model was asked and failed, or its answer cannot be read

Messages say what is wrong and what to do. They name types, shapes and single numbers, never texts or images:
what callers send can be private.
"""

from __future__ import annotations

from ._constants import INT64_MIN, UINT64_MAX


class ConchError(Exception):
    """A call failed. `problem` is the sentence alone; `str()` adds the facts, as far as they are known."""

    def __init__(
        self, problem: str, *, model: str = "", version: str = "", endpoint: str = "", request_id: str = ""
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.model = model
        self.version = version
        """The version that was asked for; empty where the choice was left to the server."""
        self.endpoint = endpoint
        self.request_id = request_id

    def __str__(self) -> str:
        facts = {
            "model": self.model,
            "version": self.version,
            "endpoint": self.endpoint,
            "request": self.request_id,
        }
        known = ", ".join(f"{name} {fact}" for name, fact in facts.items() if fact)
        return f"{self.problem} [{known}]" if known else self.problem


class InvalidInput(ConchError):
    """What was given does not fit the model: change the call."""


class ModelNotFound(ConchError):
    """The server does not have this model, or not this version of it."""


class ServerUnavailable(ConchError):
    """Nobody answers at the address, or the server has no room: try again later."""


class ModelNotReady(ServerUnavailable):
    """The server answers, but the model cannot serve: it is loading, or its process died."""


class DeadlineExceeded(ConchError):
    """The time of the call, or the time the model allows in its queue, ran out."""


class PermissionDenied(ConchError):
    """The server refuses this caller: trying again does not help."""


class Cancelled(ConchError):
    """The call was cancelled, or its client was closed."""


class InferenceFailed(ConchError):
    """The model was asked and failed, or its answer cannot be read."""


def shown(value: object) -> str:
    """A value as messages name it: a single number as it is, all else by its type."""
    if value is None or isinstance(value, float) or (isinstance(value, int) and INT64_MIN <= value <= UINT64_MAX):
        return str(value)
    return type(value).__name__


def is_unicode(text: str) -> bool:
    """UTF-8 can write the text: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
