"""Every number and fixed name of the client's behaviour, with its unit, in one place."""

from __future__ import annotations

DEFAULT_URL = "localhost:8001"
DEFAULT_GRPC_PORT = 8001

DEFAULT_TIMEOUT_S = 30.0

LONGEST_TIMEOUT_S = 365 * 24 * 3600.0
"""A longer limit counts as none: gRPC's own clock arithmetic overflows somewhere above."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # gRPC refuses messages over 4 MB unless told otherwise; a batch of images is larger.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Triton counts a ping that comes within 5 minutes of the one before as a strike and hangs up after the
    # third, so pings are rarer. With any at all gRPC sets TCP_USER_TIMEOUT: a peer that vanished under a call
    # is noticed after the keepalive timeout, not after the kernel's quarter of an hour.
    ("grpc.keepalive_time_ms", 6 * 60 * 1000),
    ("grpc.keepalive_timeout_ms", 20 * 1000),
    ("grpc.keepalive_permit_without_calls", 0),
    # After a refused connection gRPC fails calls at once until its back-off is over, by default up to two
    # minutes; whoever waits for a server that starts would learn of it that much later.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

LONGEST_LOAD_WAIT_S = 300.0
"""For a model that is brought back, where the call has no limit of its own."""
LOADER_ANSWER_S = 1.0
"""For the loader to say that the time is over."""

LOOPBACK_HOSTS = ("localhost", "::1")

RELEASE_MARK = "-v"
"""Between a pipeline's name and the number of a release, in the name that the release is served under."""
RELEASES_LOOKED_FOR = 20
"""Numbers below the one served, when an error is to say which releases there are."""

QUEUE_TIMEOUT_PARAMETER = "timeout"
"""Triton's request parameter for the time a request may wait in its queue, int64 microseconds."""

LAST_PART_WANTED, LAST_PART = "triton_enable_empty_final_response", "triton_final_response"
"""Request parameter that makes Triton end every stream with a part that says so, and the parameter that says it."""

STREAM_METADATA = (("triton_grpc_error", "true"),)
"""Makes Triton end a stream that fails with a status, as it does other calls, and not with a text in a message."""

INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
"""Whole numbers in request parameters travel as int64 or, where they must, as uint64."""

TOP_K_PARAMETER = "top_k"

QUESTION_INPUT, CONTEXT_INPUT, ANSWERS_OUTPUT = "question", "context", "answers"
"""The public tensors of a pipeline that finds answers in texts."""
MAX_ANSWER_PARAMETER = "max_answer_tokens"
IMPOSSIBLE_ANSWER_PARAMETER = "handle_impossible_answer"

IMAGE_INPUT, LABELS_INPUT = "image", "labels"
"""The public tensors of a pipeline that says which of the caller's labels fits an image; with texts it is `labels`."""
HYPOTHESIS_TEMPLATE_PARAMETER = "hypothesis_template"
MULTI_LABEL_PARAMETER = "multi_label"

ENTITIES_OUTPUT = "entities"
AGGREGATION_PARAMETER = "aggregation_strategy"

HISTORY_INPUT, HORIZON_INPUT = "history", "horizon"
FORECAST_OUTPUT, LOWER_OUTPUT, UPPER_OUTPUT = "forecast", "lower", "upper"
"""The public tensors of a pipeline that continues series."""

QUERY_INPUT, RESULTS_OUTPUT = "query", "results"
CHANGE_INPUT, OUTCOME_OUTPUT = "change", "outcome"
"""The public tensors of a search and of the ensemble that changes its catalogue."""

PIPELINE_INPUTS = ("text", "image", "features")
"""The public input of a Conch pipeline is a BYTES tensor with one of these names."""

EMBEDDING_OUTPUT = "embedding"
LABEL_OUTPUT = "label"
SCORE_OUTPUT = "score"
