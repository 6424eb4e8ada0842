"""Talk to a Triton server: give it texts, images or tensors, get answers as plain Python and numpy.

    from conch_client import Client

    with Client("localhost:8001") as client:
        client.classify("sentiment", "A joy from start to finish.")
        client.embed(["first text", "second text"])                      # float32 [2, dim]
        client.infer("any_model", x=[[1.0, 2.0]])["y"]

Importing this package imports grpcio, numpy and tritonclient's messages, and nothing heavier.
"""

from ._client import Client
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
from ._results import (
    Answer,
    CatalogueChange,
    Classification,
    Duration,
    Entity,
    Forecast,
    InferResult,
    ModelMetadata,
    ModelStatistics,
    SearchResult,
    TensorMetadata,
)

__all__ = [
    "Answer",
    "Cancelled",
    "CatalogueChange",
    "Classification",
    "Client",
    "ConchError",
    "DeadlineExceeded",
    "Duration",
    "Entity",
    "Forecast",
    "InferResult",
    "InferenceFailed",
    "InvalidInput",
    "ModelMetadata",
    "ModelNotFound",
    "ModelNotReady",
    "ModelStatistics",
    "PermissionDenied",
    "SearchResult",
    "ServerUnavailable",
    "TensorMetadata",
]

# Tracebacks and reprs then show the names that callers import.
for _name in __all__:
    globals()[_name].__module__ = __name__
