from __future__ import annotations

import grpc
import pytest

from conch_client import (
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
from conch_client._call import Call, Deadline
from conch_client._translate import translated

CALL = Call(endpoint="host:8001", deadline=Deadline(2.5), model="m", version="3", request_id="r")

WORDINGS = [
    (
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-k'",
        PermissionDenied,
    ),
    ("UNAVAILABLE", "Request timeout expired", DeadlineExceeded),
    ("UNAVAILABLE", "[request id: 7] Exceeds maximum queue size", ServerUnavailable),
    ("UNAVAILABLE", "Request for unknown model: 'm' version 1 is not at ready state", ModelNotReady),
    (
        "UNAVAILABLE",
        "Server is stopping, scheduler for model has stopped accepting new requests",
        ServerUnavailable,
    ),
    ("UNAVAILABLE", "failed to connect to all addresses; last error: Connection refused", ServerUnavailable),
    ("UNAVAILABLE", "errors resolving host:8001: Domain name not found", ServerUnavailable),
    ("UNAVAILABLE", "Socket closed", ServerUnavailable),
    ("UNAVAILABLE", "upstream connect error or disconnect/reset before headers", ServerUnavailable),
    ("NOT_FOUND", "Request for unknown model: 'm' is not found", ModelNotFound),
    (
        "INVALID_ARGUMENT",
        "unexpected shape for input 'x' for model 'm'. Expected [-1,1], got [1,2].",
        InvalidInput,
    ),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
    ("CANCELLED", "", Cancelled),
    ("PERMISSION_DENIED", "RBAC: access denied", PermissionDenied),
    ("UNAUTHENTICATED", "Jwt is missing", PermissionDenied),
    ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (5 vs. 4)", InvalidInput),
    ("RESOURCE_EXHAUSTED", "", ServerUnavailable),
    ("INTERNAL", "in ensemble 'm', Stub process 'm_0_0' is not healthy.", ModelNotReady),
    ("INTERNAL", "Exception serializing request!", InvalidInput),
    (
        "INTERNAL",
        "Failed to process the request(s) for model 'm_0_0', message: ValueError: boom",
        InferenceFailed,
    ),
    (
        "UNIMPLEMENTED",
        "ModelInfer RPC doesn't support models with decoupled transaction policy",
        InferenceFailed,
    ),
    ("UNKNOWN", "", InferenceFailed),
]


@pytest.mark.parametrize(("status", "details", "kind"), WORDINGS)
def test_each_wording_of_triton_has_its_error(status: str, details: str, kind: type[ConchError]) -> None:
    error = translated(status, details, CALL)
    assert type(error) is kind
    assert (error.model, error.version, error.endpoint, error.request_id) == ("m", "3", "host:8001", "r")


@pytest.mark.parametrize("status", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_of_grpc_has_an_error_with_a_sentence(status: str) -> None:
    error = translated(status, "", CALL)
    assert isinstance(error, ConchError)
    assert len(error.problem.split()) > 3


def test_a_refused_connection_is_one_sentence_with_the_address_and_the_cure() -> None:
    error = translated("UNAVAILABLE", "failed to connect to all addresses; last error: ...", CALL)
    assert error.problem.startswith("nothing answers gRPC at host:8001: is the server up? scripts/up")


def test_a_restricted_api_does_not_look_like_something_to_try_again() -> None:
    error = translated("UNAVAILABLE", "This protocol is restricted, expecting header 'x'", CALL)
    assert not isinstance(error, ServerUnavailable)


def test_the_time_that_ran_out_is_named() -> None:
    assert "2.5 s" in translated("DEADLINE_EXCEEDED", "Deadline Exceeded", CALL).problem


def test_a_traceback_from_the_server_does_not_become_part_of_the_sentence() -> None:
    problem = translated("INTERNAL", "message: ValueError: boom\n\nAt:\n  model.py(7): execute", CALL).problem
    assert problem == "the model failed: message: ValueError: boom; the server's log may say more"


def test_the_servers_own_words_are_kept_without_the_request_id_it_repeats() -> None:
    details = "[request id: r] inference request batch-size must be <= 8 for '{m}'"
    problem = translated("INVALID_ARGUMENT", details, CALL).problem
    assert problem.endswith("inference request batch-size must be <= 8 for '{m}'")
    assert "request id" not in problem
