"""A fake Triton: a real gRPC server in this process that speaks Triton's protocol and obeys the test.

It reads and writes tensors with tritonclient's own functions: another's code judges the client's encoding.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from conch_client import Client

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[Arrays], Arrays]
Tensors = Mapping[str, tuple[str, list[int]]]


@dataclass
class FakeModel:
    """A model of the fake server; shapes are those of one item, without the batch dimension."""

    inputs: Tensors
    outputs: Tensors
    answer: Answer
    max_batch_size: int = 0
    optional: tuple[str, ...] = ()
    version: str = "1"

    def shape(self, dims: list[int]) -> list[int]:
        return [-1, *dims] if self.max_batch_size else dims


@dataclass
class FakeTriton:
    """Answers with `models`, unless one of the faults is set, and records what came."""

    models: dict[str, FakeModel] = field(default_factory=dict)
    port: int = 0
    failure: tuple[str, str] | None = None
    hang: bool = False
    ready: bool = True
    forget_data: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    requests: list[Any] = field(default_factory=list)
    received: list[Arrays] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        unlimited = [("grpc.max_receive_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8), options=unlimited)
        self._server.add_generic_rpc_handlers([self._handler()])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.url = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _handler(self) -> Any:
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, f"_{name}"),
                request_deserializer=getattr(service_pb2, f"{name}Request").FromString,
                response_serializer=getattr(service_pb2, f"{name}Response").SerializeToString,
            )
            for name in (
                "ServerLive",
                "ServerReady",
                "ModelReady",
                "ModelMetadata",
                "ModelConfig",
                "ModelStatistics",
                "ModelInfer",
            )
        }
        return grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)

    def _enter(self, method: str, context: Any, model: str = "", version: str = "") -> None:
        self.asked[method] += 1
        if self.failure:
            context.abort(getattr(grpc.StatusCode, self.failure[0]), self.failure[1])
        if self.hang:
            context.add_callback(self.cancelled.set)
            self.cancelled.wait()
        known = self.models.get(model)
        if model and (known is None or version not in ("", known.version)):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{model}' is not found")

    def _ServerLive(self, request: Any, context: Any) -> Any:
        self._enter("ServerLive", context)
        return service_pb2.ServerLiveResponse(live=True)

    def _ServerReady(self, request: Any, context: Any) -> Any:
        self._enter("ServerReady", context)
        return service_pb2.ServerReadyResponse(ready=self.ready)

    def _ModelReady(self, request: Any, context: Any) -> Any:
        self._enter("ModelReady", context)
        return service_pb2.ModelReadyResponse(ready=request.name in self.models)

    def _ModelMetadata(self, request: Any, context: Any) -> Any:
        self._enter("ModelMetadata", context, request.name, request.version)
        model = self.models[request.name]
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=request.name,
            versions=[model.version],
            platform="python",
            inputs=[tensor(name=n, datatype=t, shape=model.shape(d)) for n, (t, d) in model.inputs.items()],
            outputs=[tensor(name=n, datatype=t, shape=model.shape(d)) for n, (t, d) in model.outputs.items()],
        )

    def _ModelConfig(self, request: Any, context: Any) -> Any:
        self._enter("ModelConfig", context, request.name, request.version)
        model = self.models[request.name]
        config = model_config_pb2.ModelConfig(name=request.name, max_batch_size=model.max_batch_size)
        for name, (_, dims) in model.inputs.items():
            config.input.add(name=name, dims=dims, optional=name in model.optional)
        config.parameters["labels"].string_value = "labels.txt"
        config.instance_group.add(count=2, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        return service_pb2.ModelConfigResponse(config=config)

    def _ModelStatistics(self, request: Any, context: Any) -> Any:
        self._enter("ModelStatistics", context, request.name, request.version)
        reply = service_pb2.ModelStatisticsResponse()
        entry = reply.model_stats.add(name=request.name, version="1", inference_count=12, execution_count=4)
        entry.inference_stats.queue.count = 12
        entry.inference_stats.queue.ns = 3400
        return reply

    def _ModelInfer(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self._enter("ModelInfer", context, request.model_name, request.model_version)
        model = self.models[request.model_name]
        for tensor in request.inputs:
            if tensor.name not in model.inputs:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected inference input '{tensor.name}'")
        arrays = {
            tensor.name: _read(tensor.datatype, list(tensor.shape), data)
            for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        self.received.append(arrays)
        reply = service_pb2.ModelInferResponse(
            model_name=request.model_name, model_version=model.version, id=request.id
        )
        for name, array in model.answer(arrays).items():
            reply.outputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            if not self.forget_data:
                reply.raw_output_contents.append(_written(array))
        return reply


def _read(datatype: str, shape: list[int], data: bytes) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(deserialize_bytes_tensor(data), dtype=object).reshape(shape)
    return np.frombuffer(data, dtype=triton_to_np_dtype(datatype)).reshape(shape)


def _written(array: NDArray[Any]) -> bytes:
    if array.dtype == object:
        return bytes(serialize_byte_tensor(array).item()) if array.size else b""
    return array.tobytes()


def _sentiment(arrays: Arrays) -> Arrays:
    """Labels a text by its length, so that each text of a batch has an answer of its own."""
    scores = np.array([[0.9, 0.1] if len(text) > 3 else [0.6, 0.4] for (text,) in arrays["text"]], dtype=np.float32)
    labels = np.array([["long", "short"] if len(text) > 3 else ["short", "long"] for (text,) in arrays["text"]])
    return {"label": labels.astype(object), "score": scores}


def _embedding(arrays: Arrays) -> Arrays:
    return {"embedding": np.array([[len(text), 1, 0] for (text,) in arrays["text"]], dtype=np.float32)}


class Column:
    """What the client sees of a pandas Series: numpy can read it."""

    def __init__(self, values: Sequence[object]) -> None:
        self._values = np.array(values, dtype=object)
        self.shape = self._values.shape

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]:
        return self._values


class Frame:
    """What the client sees of a pandas DataFrame: named columns, rows as mappings, and numpy can read it."""

    def __init__(self, columns: Mapping[str, Sequence[object]]) -> None:
        self.columns = list(columns)
        self._rows = list(zip(*columns.values(), strict=True))
        self.shape = (len(self._rows), len(self.columns))

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]:
        return np.array(self._rows)

    def to_dict(self, orient: str) -> list[dict[str, object]]:
        assert orient == "records"
        return [dict(zip(self.columns, row, strict=True)) for row in self._rows]


@pytest.fixture
def column() -> type[Column]:
    return Column


@pytest.fixture
def frame() -> type[Frame]:
    return Frame


CLASSIFIER_OUTPUTS: Tensors = {"label": ("BYTES", [-1]), "score": ("FP32", [-1])}


@pytest.fixture
def fake() -> Iterator[FakeTriton]:
    """A fake Triton with the models `embed`, `sentiment` and `double` (FP32 [2], batches of up to 4)."""
    server = FakeTriton()
    server.models["embed"] = FakeModel({"text": ("BYTES", [1])}, {"embedding": ("FP32", [3])}, _embedding, 8)
    server.models["sentiment"] = FakeModel({"text": ("BYTES", [1])}, CLASSIFIER_OUTPUTS, _sentiment, 8)
    server.models["double"] = FakeModel(
        {"x": ("FP32", [2])}, {"y": ("FP32", [2])}, lambda arrays: {"y": arrays["x"] * 2}, 4
    )
    yield server
    server.cancelled.set()
    server.stop()


@pytest.fixture
def client(fake: FakeTriton) -> Iterator[Client]:
    with Client(fake.url, timeout_s=10) as client:
        yield client
