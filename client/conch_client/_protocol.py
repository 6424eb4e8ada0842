"""Triton's gRPC protocol with types around it: what to send, how to read the answer, and the channel it goes
through.

Neither grpcio nor tritonclient's generated messages have types, so nothing outside this module touches them.
An `Rpc` says what to ask and how to read the reply and knows no channel; `Channel` sends it and waits.
Another way of sending, asynchronous for one, needs another channel and nothing else.

Only tritonclient's generated messages are used, never its client, whose layers cost time and bring gevent
along.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ._call import Call
from ._constants import (
    CHANNEL_OPTIONS,
    INT64_MAX,
    LAST_PART,
    LAST_PART_WANTED,
    LOOPBACK_HOSTS,
    STREAM_METADATA,
)
from ._encode import WireTensor
from ._errors import Cancelled, InferenceFailed
from ._results import Duration, ModelMetadata, ModelStatistics, TensorMetadata
from ._translate import translated

T = TypeVar("T")

Parameter = bool | int | float | str

CLOSED = "the client is closed: make a new one"
CLOSED_UNDER_CALL = "the client was closed under the call"


@dataclass(frozen=True)
class Rpc(Generic[T]):
    """A question to the server, and how to read the reply."""

    method: str
    request: Any
    read: Callable[[Any], T]

    @property
    def model(self) -> str:
        """The model that it is about."""
        return str(getattr(self.request, "model_name", "") or getattr(self.request, "name", ""))


@dataclass(frozen=True)
class WireAnswer:
    """What the server answers to an inference, before any tensor is read."""

    model: str
    version: str
    request_id: str
    tensors: list[WireTensor]


@dataclass(frozen=True)
class WirePart:
    """One message of a stream. The last one may carry no tensors: it only says that it is the last."""

    problem: str
    """What the server says went wrong, empty when nothing did."""
    answer: WireAnswer
    is_last: bool


def server_live() -> Rpc[bool]:
    return Rpc("ServerLive", service_pb2.ServerLiveRequest(), lambda reply: bool(reply.live))


def server_ready() -> Rpc[bool]:
    return Rpc("ServerReady", service_pb2.ServerReadyRequest(), lambda reply: bool(reply.ready))


def model_ready(model: str, version: str) -> Rpc[bool]:
    request = service_pb2.ModelReadyRequest(name=model, version=version)
    return Rpc("ModelReady", request, lambda reply: bool(reply.ready))


def model_metadata(model: str, version: str) -> Rpc[ModelMetadata]:
    return Rpc("ModelMetadata", service_pb2.ModelMetadataRequest(name=model, version=version), _metadata)


def model_config(model: str, version: str) -> Rpc[dict[str, Any]]:
    request = service_pb2.ModelConfigRequest(name=model, version=version)
    return Rpc("ModelConfig", request, lambda reply: _as_dict(reply.config))


def model_statistics(model: str, version: str) -> Rpc[list[ModelStatistics]]:
    request = service_pb2.ModelStatisticsRequest(name=model, version=version)
    return Rpc("ModelStatistics", request, lambda reply: [_statistics(entry) for entry in reply.model_stats])


def model_infer(
    model: str,
    version: str,
    request_id: str,
    tensors: Sequence[WireTensor],
    parameters: Mapping[str, Parameter],
) -> Rpc[WireAnswer]:
    return Rpc("ModelInfer", _infer_request(model, version, request_id, tensors, parameters), _answer)


def model_stream_infer(
    model: str,
    version: str,
    request_id: str,
    tensors: Sequence[WireTensor],
    parameters: Mapping[str, Parameter],
) -> Rpc[WirePart]:
    told = {**parameters, LAST_PART_WANTED: True}
    return Rpc("ModelStreamInfer", _infer_request(model, version, request_id, tensors, told), _part)


def _infer_request(
    model: str,
    version: str,
    request_id: str,
    tensors: Sequence[WireTensor],
    parameters: Mapping[str, Parameter],
) -> Any:
    request = service_pb2.ModelInferRequest(
        model_name=model,
        model_version=version,
        id=request_id,
        raw_input_contents=[tensor.data for tensor in tensors],
    )
    for tensor in tensors:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    for name, value in parameters.items():
        setattr(request.parameters[name], _parameter_field(value), value)
    return request


def _parameter_field(value: Parameter) -> str:
    # bool first: it is an int as well.
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        return "int64_param" if value <= INT64_MAX else "uint64_param"
    return "double_param" if isinstance(value, float) else "string_param"


def _answer(reply: Any) -> WireAnswer:
    tensors = [
        WireTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)
        for tensor, data in zip(reply.outputs, reply.raw_output_contents, strict=True)
    ]
    return WireAnswer(reply.model_name, reply.model_version, reply.id, tensors)


def _part(reply: Any) -> WirePart:
    is_last = LAST_PART in reply.infer_response.parameters and reply.infer_response.parameters[LAST_PART].bool_param
    return WirePart(reply.error_message, _answer(reply.infer_response), bool(is_last))


def _metadata(reply: Any) -> ModelMetadata:
    return ModelMetadata(
        name=reply.name,
        versions=tuple(reply.versions),
        platform=reply.platform,
        inputs=_tensors(reply.inputs),
        outputs=_tensors(reply.outputs),
    )


def _tensors(tensors: Any) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def _statistics(entry: Any) -> ModelStatistics:
    stats = entry.inference_stats
    return ModelStatistics(
        name=entry.name,
        version=entry.version,
        inference_count=entry.inference_count,
        execution_count=entry.execution_count,
        success=_duration(stats.success),
        fail=_duration(stats.fail),
        queue=_duration(stats.queue),
        compute_input=_duration(stats.compute_input),
        compute_infer=_duration(stats.compute_infer),
        compute_output=_duration(stats.compute_output),
        cache_hit=_duration(stats.cache_hit),
        cache_miss=_duration(stats.cache_miss),
    )


def _duration(duration: Any) -> Duration:
    return Duration(count=duration.count, ns=duration.ns)


def _as_dict(message: Any) -> dict[str, Any]:
    """The fields that are set, under their protobuf names. protobuf's own JSON would write int64 as text."""
    return {field.name: _as_value(field, value) for field, value in message.ListFields()}


def _as_value(field: Any, value: Any) -> Any:
    if isinstance(value, bool | int | float | str | bytes):
        return field.enum_type.values_by_number[value].name if field.enum_type else value
    if hasattr(value, "ListFields"):
        return _as_dict(value)
    if hasattr(value, "items"):
        entry = field.message_type.fields_by_name["value"]
        return {key: _as_value(entry, item) for key, item in value.items()}
    return [_as_value(field, item) for item in value]


def _options(endpoint: str) -> tuple[tuple[str, int], ...]:
    """Calls to this very machine never go through the proxy that the environment names."""
    host = endpoint.rpartition(":")[0].strip("[]")
    local = host in LOOPBACK_HOSTS or host.startswith("127.")
    return (*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)) if local else CHANNEL_OPTIONS


def _read(rpc: Rpc[T], reply: Any, call: Call) -> T:
    try:
        return rpc.read(reply)
    except ValueError as exc:
        raise call.error(InferenceFailed, f"the server's reply cannot be read: {exc}") from exc


class Channel:
    """A gRPC channel to one endpoint. Connects when first needed and again after a failure; threads may share
    it.
    """

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint, options=_options(endpoint))
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._closed = False

    def send(self, rpc: Rpc[T], call: Call) -> T:
        """Ask and wait for the reply, at most for the time the call has left. Raises ConchError."""
        timeout_s = call.time_left_s()
        if self._closed:
            raise call.error(Cancelled, CLOSED)
        try:
            reply = getattr(self._stub, rpc.method)(rpc.request, timeout=timeout_s)
        except grpc.RpcError as exc:
            raise translated(exc.code().name, exc.details() or "", call) from exc
        except ValueError as exc:
            # The one that gRPC raises when another thread closes the channel between the look above and the
            # call.
            raise call.error(Cancelled, CLOSED_UNDER_CALL) from exc
        return _read(rpc, reply, call)

    def stream(self, rpc: Rpc[T], call: Call) -> Generator[T, None, None]:
        """Ask once and give each reply as it comes, for the time the call has left. Raises ConchError.

        Closing the generator cancels the call; the server is told.
        """
        timeout_s = call.time_left_s()
        if self._closed:
            raise call.error(Cancelled, CLOSED)
        try:
            replies = getattr(self._stub, rpc.method)(iter([rpc.request]), timeout=timeout_s, metadata=STREAM_METADATA)
        except ValueError as exc:
            raise call.error(Cancelled, CLOSED_UNDER_CALL) from exc
        try:
            for reply in replies:
                yield _read(rpc, reply, call)
        except grpc.RpcError as exc:
            raise translated(exc.code().name, exc.details() or "", call) from exc
        finally:
            replies.cancel()

    def close(self) -> None:
        self._closed = True
        self._channel.close()
