"""The client that blocks: each method makes a call, runs its flow over the channel and gives back the result.

The methods of the tasks are in `_tasks`; here are the connection, inference with any model, and what a server says
of itself and of its models.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from numpy.typing import NDArray

from . import _flows as flows
from . import _protocol as protocol
from ._call import Call
from ._calls import Calls
from ._constants import DEFAULT_TIMEOUT_S, DEFAULT_URL
from ._errors import ConchError, DeadlineExceeded, ModelNotFound, ModelNotReady, ServerUnavailable
from ._flows import Flow
from ._loader import Loader
from ._protocol import Channel, Parameter
from ._results import InferResult, ModelMetadata, ModelStatistics
from ._spec import Catalog
from ._tasks import Tasks

T = TypeVar("T")


class Client(Tasks):
    """Calls the models of one Triton server over gRPC.

        with Client("localhost:8001") as client:
            client.classify("sentiment", "A joy from start to finish.").label

    One client serves any number of threads. Making one connects to nothing; the first call does. Whatever
    goes wrong with a call is a ConchError. Every method takes `timeout_s`: the seconds the whole call may
    last, `math.inf` for no limit, by default the client's. The server is told the limit, so what nobody waits
    for any more is dropped from its queues.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, timeout_s: float = DEFAULT_TIMEOUT_S, loader: str | None = None
    ) -> None:
        """`url` is host:port; without a port it is Triton's for gRPC, 8001.

        `loader` is host:port of a supervisor that brings back models which left the memory, such as Conch's health
        endpoint. A call that finds its model missing then asks for it there, waits for it within its own time, and
        goes on; the logger `conch_client` says so.
        """
        self._calls = Calls(url, timeout_s)
        self._channel = Channel(self.endpoint)
        self._catalog = Catalog()
        self._loader = None if loader is None else Loader(loader)

    @property
    def endpoint(self) -> str:
        """The address that calls go to, as gRPC names it."""
        return self._calls.endpoint

    @property
    def timeout_s(self) -> float:
        """The limit of calls that are given none of their own, in seconds."""
        return self._calls.timeout_s

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.endpoint!r})"

    def close(self) -> None:
        """Close the connection. Calls under way, and any made later, raise Cancelled."""
        self._channel.close()

    def infer(
        self,
        name: str,
        /,
        version: str | int = "",
        *,
        inputs: Mapping[str, object] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **tensors: object,
    ) -> InferResult:
        """One inference with any model of any Triton: tensors by name in, arrays by name out.

        Values may be scalars, text, bytes, nested lists, arrays, or anything numpy reads; they are brought to
        the tensor's datatype if that changes no value, and refused with a reason if not. For a BYTES tensor
        called `image` or `features` they may be what `classify` takes. If the model has a batch dimension and
        the values are one item, it is added, and removed from the answer; where an item is a single value, n
        values are a batch of n.

        `version` "" is the latest, or what the server is pinned to; a number asks for that version of a model, or that
        release of a pipeline, while another is the latest. `inputs` takes tensors whose names are this method's own
        arguments. `parameters` go to the model as they are; `request_id` is made up if it is not given.
        """
        call = self._calls.to_model(name, timeout_s, version, request_id)
        return self._run(flows.infer_named(self._catalog, call, inputs, tensors, parameters), call)

    def tensors(
        self,
        name: str,
        /,
        version: str | int = "",
        *,
        inputs: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
        **tensors: object,
    ) -> dict[str, NDArray[Any]]:
        """The tensors that `infer` would send for these values, and sends nothing: arrays by name, with the batch
        dimension where the model has one. BYTES are object arrays of bytes, BF16 is float32.
        """
        call = self._calls.to_model(name, timeout_s, version)
        return self._run(flows.tensors_sent(self._catalog, call, inputs, tensors), call)

    def stream(
        self,
        name: str,
        /,
        version: str | int = "",
        *,
        inputs: Mapping[str, object] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **tensors: object,
    ) -> Generator[InferResult, None, None]:
        """One request to a model that answers in parts (Triton: decoupled), each given as it comes; takes what `infer`
        takes.

            for part in client.stream("story", text="Once upon a time"):
                print(part["text"])

        The request goes out when the first part is asked for; the whole stream has `timeout_s`. What does not fit the
        model is refused here. What goes wrong later, a model whose process dies among it, is raised where the next
        part would have been; nothing is sent again by itself, for parts have been seen. Close the generator (or leave
        the loop and let it go) to cancel: the model is told.
        """
        call = self._calls.to_model(name, timeout_s, version, request_id)
        stream = self._run(flows.stream_named(self._catalog, call, inputs, tensors, parameters), call)
        return stream.results(self._channel.stream(stream.rpc, call), call)

    def is_live(self, *, timeout_s: float | None = None) -> bool:
        """The server answers and runs. False, not an error, when nobody answers in time."""
        return self._probe(protocol.server_live(), self._calls.to_server(timeout_s))

    def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """The server and all models it was told to load can serve. False when nobody answers in time."""
        return self._probe(protocol.server_ready(), self._calls.to_server(timeout_s))

    def model_ready(self, name: str, version: str | int = "", *, timeout_s: float | None = None) -> bool:
        """The model can serve, as far as the server knows. False for an unknown one or without an answer."""
        call = self._calls.to_model(name, timeout_s, version)
        return self._probe(protocol.model_ready(call.model, call.version), call)

    def metadata(self, name: str, version: str | int = "", *, timeout_s: float | None = None) -> ModelMetadata:
        """The model's versions and tensors, asked anew."""
        call = self._calls.to_model(name, timeout_s, version)
        return self._run(flows.of_release(call, flows.metadata), call)

    def config(self, name: str, version: str | int = "", *, timeout_s: float | None = None) -> dict[str, Any]:
        """The configuration as the server completed it, in config.pbtxt's terms; unset fields are absent."""
        call = self._calls.to_model(name, timeout_s, version)
        return self._channel.send(protocol.model_config(call.model, call.version), call)

    def statistics(
        self, name: str, version: str | int = "", *, timeout_s: float | None = None
    ) -> list[ModelStatistics]:
        """What the model has done since it was loaded, one entry a version."""
        call = self._calls.to_model(name, timeout_s, version)
        return self._channel.send(protocol.model_statistics(call.model, call.version), call)

    def _run(self, flow: Flow[T], call: Call) -> T:
        """Answer each question of the flow from the channel; errors are raised where it asked."""
        try:
            rpc = next(flow)
            while True:
                try:
                    reply = self._sent(rpc, call)
                except ConchError as exc:
                    rpc = flow.throw(exc)
                else:
                    rpc = flow.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    def _sent(self, rpc: protocol.Rpc[T], call: Call) -> T:
        """The reply; where the model is missing, the one after it was brought back."""
        try:
            return self._channel.send(rpc, call)
        except (ModelNotFound, ModelNotReady):
            if self._loader is None:
                raise
            model = rpc.model or call.model
            # Only a version of it may be missing, or a process dead: loading does not help then.
            if self._probe(protocol.model_ready(model, ""), call) or not self._loader.brought(model, call):
                raise
        return self._channel.send(rpc, call)

    def _probe(self, rpc: protocol.Rpc[bool], call: Call) -> bool:
        try:
            return self._channel.send(rpc, call)
        except (ServerUnavailable, DeadlineExceeded):
            return False
