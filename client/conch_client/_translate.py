"""The one place where a gRPC status becomes one of our errors.

Triton has few codes for many causes: UNAVAILABLE is a full queue, a loading model, an expired queue timeout
and a caller without permission, so its wording decides as well. The first rule that matches wins. The
wordings are those of Triton 2.51, of Envoy and of gRPC itself; an unknown one falls through to the last rule
of its status.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ._call import Call, out_of_time
from ._errors import (
    Cancelled,
    ConchError,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    PermissionDenied,
    ServerUnavailable,
)


class _Rule(NamedTuple):
    status: str
    """gRPC's name of the status."""
    wordings: tuple[str, ...]
    """Any of these, in lower case, is in the details; none given: any details."""
    error: type[ConchError]
    sentence: str
    """What to tell; may name {details}, {endpoint} and {out_of_time}."""


_NO_ANSWER = "nothing answers gRPC at {endpoint}: is the server up? scripts/up (Triton's gRPC port is 8001, not 8000)"
_NO_PERMISSION = "the server refuses this caller ({details}): ask its operator for access"

_RULES = (
    # A wrong key for a restricted API is UNAVAILABLE too, and no repetition will cure it.
    _Rule("UNAVAILABLE", ("is restricted",), PermissionDenied, _NO_PERMISSION),
    _Rule(
        "UNAVAILABLE",
        ("request timeout expired",),
        DeadlineExceeded,
        "the request waited too long in the model's queue: raise timeout_s, or send fewer at once",
    ),
    _Rule(
        "UNAVAILABLE",
        ("not at ready state",),
        ModelNotReady,
        "the model is not ready ({details}): try again soon",
    ),
    _Rule(
        "UNAVAILABLE",
        ("exceeds maximum queue size",),
        ServerUnavailable,
        "the model's queue is full: try again later, or send fewer requests at once",
    ),
    _Rule(
        "UNAVAILABLE",
        ("failed to connect", "errors resolving", "dns resolution failed"),
        ServerUnavailable,
        _NO_ANSWER,
    ),
    _Rule(
        "UNAVAILABLE",
        ("socket closed", "connection reset", "broken pipe", "goaway"),
        ServerUnavailable,
        "the connection broke ({details}): the server may have stopped, try again",
    ),
    _Rule("UNAVAILABLE", (), ServerUnavailable, "the server cannot serve now ({details}): try again later"),
    _Rule(
        "NOT_FOUND",
        (),
        ModelNotFound,
        "{details}: check the name and the version, and that the model is loaded",
    ),
    _Rule("INVALID_ARGUMENT", (), InvalidInput, "the server refuses the input: {details}"),
    _Rule("DEADLINE_EXCEEDED", (), DeadlineExceeded, "{out_of_time}"),
    _Rule("CANCELLED", (), Cancelled, "the call was cancelled before the answer came"),
    _Rule("PERMISSION_DENIED", (), PermissionDenied, _NO_PERMISSION),
    _Rule("UNAUTHENTICATED", (), PermissionDenied, _NO_PERMISSION),
    _Rule(
        "RESOURCE_EXHAUSTED",
        ("larger than max",),
        InvalidInput,
        "the message is too large for the server or a proxy before it ({details}): send less in a call",
    ),
    _Rule(
        "RESOURCE_EXHAUSTED",
        (),
        ServerUnavailable,
        "the server limits requests ({details}): try again later, slower",
    ),
    _Rule(
        "UNIMPLEMENTED",
        (),
        InferenceFailed,
        "the server does not offer this ({details}): is it Triton, and a model that does not stream?",
    ),
    # gRPC's word for what protobuf refuses to write; the log has protobuf's own.
    _Rule(
        "INTERNAL",
        ("exception serializing request",),
        InvalidInput,
        "the request cannot be written, most likely because it is over protobuf's limit of 2 GiB: send less in a call",
    ),
    # Triton reports a model as ready whose Python process is dead; only the requests tell.
    _Rule(
        "INTERNAL",
        ("is not healthy",),
        ModelNotReady,
        "a Python process of the model died ({details}): the server must load the model again",
    ),
)

_FAILED = _Rule("", (), InferenceFailed, "the model failed: {details}; the server's log may say more")

_REQUEST_ID = re.compile(r"\[request id: [^\]]*\] ")


def translated(status: str, details: str, call: Call) -> ConchError:
    """Our error for a gRPC status, by name, and the details the server sent with it."""
    rule = next((rule for rule in _RULES if rule.status == status and _matches(rule, details.lower())), _FAILED)
    # The error names the request itself, and a Python traceback behind the first line is kept in the cause.
    plain = _REQUEST_ID.sub("", details).strip().partition("\n")[0]
    sentence = rule.sentence.format(
        details=plain or status, endpoint=call.endpoint, out_of_time=out_of_time(call.deadline.timeout_s)
    )
    return call.error(rule.error, sentence)


def _matches(rule: _Rule, details: str) -> bool:
    return not rule.wordings or any(wording in details for wording in rule.wordings)
