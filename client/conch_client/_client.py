"""The client that blocks: each method makes a call, runs its flow over the channel and gives back the result.

What a method asks and how it reads the answers is in `_flows`; here are the signatures and their contracts.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from . import _flows as flows
from . import _protocol as protocol
from . import _search as searches
from ._call import Call, Deadline, checked_timeout
from ._constants import (
    AGGREGATION_PARAMETER,
    DEFAULT_GRPC_PORT,
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    HYPOTHESIS_TEMPLATE_PARAMETER,
    INT64_MAX,
    INT64_MIN,
    MULTI_LABEL_PARAMETER,
    QUEUE_TIMEOUT_PARAMETER,
    TOP_K_PARAMETER,
    UINT64_MAX,
)
from ._errors import ConchError, DeadlineExceeded, InvalidInput, ServerUnavailable
from ._flows import Flow
from ._inputs import PilImage
from ._protocol import Channel, Parameter
from ._results import (
    Answer,
    CatalogueChange,
    Classification,
    Entity,
    Forecast,
    InferResult,
    ModelMetadata,
    ModelStatistics,
    SearchResult,
)
from ._spec import Catalog

T = TypeVar("T")


class Client:
    """Calls the models of one Triton server over gRPC.

        with Client("localhost:8001") as client:
            client.classify("sentiment", "A joy from start to finish.").label

    One client serves any number of threads. Making one connects to nothing; the first call does. Whatever
    goes wrong with a call is a ConchError. Every method takes `timeout_s`: the seconds the whole call may
    last, `math.inf` for no limit, by default the client's. The server is told the limit, so what nobody waits
    for any more is dropped from its queues.
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """`url` is host:port; without a port it is Triton's for gRPC, 8001."""
        self.endpoint = _endpoint(url)
        self.timeout_s = checked_timeout(timeout_s)
        self._channel = Channel(self.endpoint)
        self._catalog = Catalog()
        # Unique without a lock: next() on a count is atomic, and each client has its own prefix.
        self._id_prefix = os.urandom(4).hex()
        self._ids = itertools.count(1)

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

    def embed(
        self, texts: str | Iterable[str], model: str = "embed", *, timeout_s: float | None = None
    ) -> NDArray[np.float32]:
        """Embeddings [n, dim] of n texts in their order, [dim] of a single one."""
        call = self._call(timeout_s, model)
        return self._run(flows.embed(self._catalog, call, _rereadable(texts)), call)

    @overload
    def classify(
        self,
        name: str,
        inputs: str | bytes | os.PathLike[str] | PilImage | Mapping[str, object],
        *,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> Classification: ...

    @overload
    def classify(
        self,
        name: str,
        inputs: list[Any] | tuple[Any, ...],
        *,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> list[Classification]: ...

    @overload
    def classify(
        self, name: str, inputs: object, *, top_k: int | None = None, timeout_s: float | None = None
    ) -> Classification | list[Classification]: ...

    def classify(
        self, name: str, inputs: object, *, top_k: int | None = None, timeout_s: float | None = None
    ) -> Classification | list[Classification]:
        """What the classifier `name` says: one Classification for one input, a list in order for several.

        The model decides what an input is. For text it is a str; for images the path of a file, its bytes, a
        PIL image or a uint8 array [H, W] or [H, W, channels]; for features a mapping of names to values, or
        the rows of a DataFrame. A str is read as a path for image models only. `top_k` limits the labels each
        answer names.
        """
        call = self._call(timeout_s, name)
        parameters = {} if top_k is None else {TOP_K_PARAMETER: _checked_top_k(top_k, call)}
        return self._run(flows.classify(self._catalog, call, _rereadable(inputs), parameters), call)

    @overload
    def score(
        self, features: Mapping[str, object], model: str = "risk", *, timeout_s: float | None = None
    ) -> Classification: ...

    @overload
    def score(
        self, features: list[Any] | tuple[Any, ...], model: str = "risk", *, timeout_s: float | None = None
    ) -> list[Classification]: ...

    @overload
    def score(
        self, features: object, model: str = "risk", *, timeout_s: float | None = None
    ) -> Classification | list[Classification]: ...

    def score(
        self, features: object, model: str = "risk", *, timeout_s: float | None = None
    ) -> Classification | list[Classification]:
        """What a classifier of named values says: one Classification for one row, a list in order for several.

        A row is a mapping of names to values, None for a value that is not known; several are a list of them, or a
        DataFrame. With an `entity_id`, stored values stand in for those that are not given.
        """
        return self.classify(model, features, timeout_s=timeout_s)

    @overload
    def answer(
        self,
        question: str,
        context: str,
        model: str = "qa",
        *,
        top_k: int | None = None,
        max_answer_tokens: int | None = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: float | None = None,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        question: list[str] | tuple[str, ...],
        context: str | list[str] | tuple[str, ...],
        model: str = "qa",
        *,
        top_k: int | None = None,
        max_answer_tokens: int | None = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: float | None = None,
    ) -> list[Answer]: ...

    @overload
    def answer(
        self,
        question: str,
        context: list[str] | tuple[str, ...],
        model: str = "qa",
        *,
        top_k: int | None = None,
        max_answer_tokens: int | None = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: float | None = None,
    ) -> list[Answer]: ...

    def answer(
        self,
        question: str | list[str] | tuple[str, ...],
        context: str | list[str] | tuple[str, ...],
        model: str = "qa",
        *,
        top_k: int | None = None,
        max_answer_tokens: int | None = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: float | None = None,
    ) -> Answer | list[Answer]:
        """The words of a context that answer a question: one Answer, or a list in order for several of either.

        One text goes with each of several others: many questions on one context, or one question on many. With
        `top_k` an Answer names the next best ones too. `max_answer_tokens` limits an answer's length (default 15 of
        the model's tokens); `handle_impossible_answer` says whether an empty answer may win (default True). A context
        may be long: thousands of words take seconds, so give `timeout_s` the time.
        """
        call = self._call(timeout_s, model)
        given = {
            TOP_K_PARAMETER: None if top_k is None else _checked_top_k(top_k, call),
            "max_answer_tokens": max_answer_tokens,
            "handle_impossible_answer": handle_impossible_answer,
        }
        parameters = _checked_parameters({name: value for name, value in given.items() if value is not None}, call)
        return self._run(flows.answer(self._catalog, call, question, context, parameters), call)

    @overload
    def entities(
        self,
        texts: str,
        model: str = "ner",
        *,
        aggregation_strategy: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Entity]: ...

    @overload
    def entities(
        self,
        texts: list[str] | tuple[str, ...],
        model: str = "ner",
        *,
        aggregation_strategy: str | None = None,
        timeout_s: float | None = None,
    ) -> list[list[Entity]]: ...

    def entities(
        self,
        texts: str | list[str] | tuple[str, ...],
        model: str = "ner",
        *,
        aggregation_strategy: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Entity] | list[list[Entity]]:
        """The named entities of a text in its order; of several texts, a list for each.

        `aggregation_strategy` says how tokens become entities, as in transformers: none, simple, first, average or
        max; the model has its own default. A text may be long: thousands of words take seconds, so give `timeout_s`
        the time.
        """
        call = self._call(timeout_s, model)
        given = {} if aggregation_strategy is None else {AGGREGATION_PARAMETER: aggregation_strategy}
        parameters = _checked_parameters(given, call)
        return self._run(flows.entities(self._catalog, call, _rereadable(texts), parameters), call)

    @overload
    def forecast(
        self,
        history: Sequence[float] | NDArray[Any],
        horizon: int,
        model: str = "forecast",
        *,
        timeout_s: float | None = None,
    ) -> Forecast: ...

    @overload
    def forecast(
        self,
        history: Sequence[Sequence[float] | NDArray[Any]],
        horizon: int,
        model: str = "forecast",
        *,
        timeout_s: float | None = None,
    ) -> list[Forecast]: ...

    def forecast(
        self, history: object, horizon: int, model: str = "forecast", *, timeout_s: float | None = None
    ) -> Forecast | list[Forecast]:
        """The next `horizon` values of a series with their prediction interval; of a list of series, a list.

        A history is a list or an array of numbers, oldest first, of any length; those of a list may differ in length,
        and each length is a request of its own.
        """
        call = self._call(timeout_s, model)
        return self._run(flows.forecast(self._catalog, call, _rereadable(history), horizon), call)

    @overload
    def match(
        self,
        images: str | bytes | os.PathLike[str] | PilImage,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> Classification: ...

    @overload
    def match(
        self,
        images: list[Any] | tuple[Any, ...],
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> list[Classification]: ...

    @overload
    def match(
        self,
        images: object,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> Classification | list[Classification]: ...

    def match(
        self,
        images: object,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> Classification | list[Classification]:
        """Which of these labels fits an image: one Classification for one image, a list in order for several.

        An image is what `classify` takes; all are asked the same labels. `hypothesis_template` is the sentence that a
        label is put into, with {} where it goes; the model has its own default. `top_k` limits the labels each answer
        names.
        """
        call = self._call(timeout_s, model)
        given = {
            HYPOTHESIS_TEMPLATE_PARAMETER: hypothesis_template,
            TOP_K_PARAMETER: None if top_k is None else _checked_top_k(top_k, call),
        }
        parameters = _checked_parameters({name: value for name, value in given.items() if value is not None}, call)
        if isinstance(labels, str):
            raise call.error(InvalidInput, f"labels is a list of texts, got the text {labels!r:.40}")
        return self._run(flows.match(self._catalog, call, _rereadable(images), list(labels), parameters), call)

    @overload
    def search(
        self,
        query: str,
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[SearchResult]: ...

    @overload
    def search(
        self,
        query: list[str] | tuple[str, ...],
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[list[SearchResult]]: ...

    def search(
        self,
        query: str | list[str] | tuple[str, ...],
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """The items that mean most nearly what the query says, best first; of several queries, a list for each.

        `k` items at most, by default 5. `filter` says what they must be: `category` one or a list of them, `price` and
        `year` as {"min": .., "max": ..}, `in_stock` True or False.
        """
        call = self._call(timeout_s, model)
        questions = [{"text": text, "k": k, "filter": filter} for text in _several(query)]
        found = self._run(searches.search(self._catalog, call, questions), call)
        return found[0] if isinstance(query, str) else found

    @overload
    def similar(
        self,
        item: str,
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[SearchResult]: ...

    @overload
    def similar(
        self,
        item: list[str] | tuple[str, ...],
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[list[SearchResult]]: ...

    def similar(
        self,
        item: str | list[str] | tuple[str, ...],
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """More like an item, named by its id, which is not among them; of several ids, a list for each."""
        call = self._call(timeout_s, model)
        questions = [{"item": name, "k": k, "filter": filter} for name in _several(item)]
        found = self._run(searches.search(self._catalog, call, questions), call)
        return found[0] if isinstance(item, str) else found

    def recommend(
        self,
        liked: str | Iterable[str],
        disliked: str | Iterable[str] = (),
        model: str = "search",
        *,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
        timeout_s: float | None = None,
    ) -> list[SearchResult]:
        """For someone who liked these items, named by their ids, and disliked those; none of them is in the answer."""
        call = self._call(timeout_s, model)
        question = {"liked": _several(liked), "disliked": _several(disliked) or None, "k": k, "filter": filter}
        (results,) = self._run(searches.search(self._catalog, call, [question]), call)
        return results

    def change_catalogue(
        self,
        add: Iterable[Mapping[str, object]] = (),
        remove: str | Iterable[str] = (),
        model: str = "search_catalogue",
        *,
        timeout_s: float | None = None,
    ) -> CatalogueChange:
        """Add items, or replace those whose id is there, and remove ids: all of it, or nothing where one is not sound.

        An item has `id`, `title`, `text`, `category`, `price`, `in_stock` and `year`. A search that begins after this
        has returned sees the change. Asking for the same again changes nothing more.
        """
        call = self._call(timeout_s, model)
        return self._run(searches.change(self._catalog, call, add, _several(remove)), call)

    @overload
    def zero_shot(
        self,
        texts: str,
        labels: Iterable[str],
        model: str = "zero_shot",
        *,
        multi_label: bool | None = None,
        hypothesis_template: str | None = None,
        timeout_s: float | None = None,
    ) -> Classification: ...

    @overload
    def zero_shot(
        self,
        texts: list[str] | tuple[str, ...],
        labels: Iterable[str],
        model: str = "zero_shot",
        *,
        multi_label: bool | None = None,
        hypothesis_template: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Classification]: ...

    def zero_shot(
        self,
        texts: str | list[str] | tuple[str, ...],
        labels: Iterable[str],
        model: str = "zero_shot",
        *,
        multi_label: bool | None = None,
        hypothesis_template: str | None = None,
        timeout_s: float | None = None,
    ) -> Classification | list[Classification]:
        """Which of these labels fits a text: one Classification for one text, a list in order for several.

        All texts are asked the same labels. `hypothesis_template` is the sentence that a label is put into, with {}
        where it goes; the model has its own default. With `multi_label` each label is judged for itself, so several
        or none may score high: only models of natural-language inference can say that.
        """
        call = self._call(timeout_s, model)
        if isinstance(labels, str):
            raise call.error(InvalidInput, f"labels is a list of texts, got the text {labels!r:.40}")
        given = {HYPOTHESIS_TEMPLATE_PARAMETER: hypothesis_template, MULTI_LABEL_PARAMETER: multi_label}
        parameters = _checked_parameters({name: value for name, value in given.items() if value is not None}, call)
        return self._run(flows.zero_shot(self._catalog, call, texts, list(labels), parameters), call)

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

        `version` "" leaves the choice to the server. `inputs` takes tensors whose names are this method's own
        arguments. `parameters` go to the model as they are; `request_id` is made up if it is not given.
        """
        call = self._call(timeout_s, name, version, request_id)
        values = {tensor: _rereadable(value) for tensor, value in _merged(inputs, tensors, call).items()}
        own = _checked_parameters(parameters, call)
        return self._run(flows.infer(self._catalog, call, lambda _: values, own), call).result

    def is_live(self, *, timeout_s: float | None = None) -> bool:
        """The server answers and runs. False, not an error, when nobody answers in time."""
        return self._probe(protocol.server_live(), self._call(timeout_s))

    def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """The server and all models it was told to load can serve. False when nobody answers in time."""
        return self._probe(protocol.server_ready(), self._call(timeout_s))

    def model_ready(self, name: str, version: str | int = "", *, timeout_s: float | None = None) -> bool:
        """The model can serve, as far as the server knows. False for an unknown one or without an answer."""
        call = self._call(timeout_s, name, version)
        return self._probe(protocol.model_ready(name, call.version), call)

    def metadata(self, name: str, version: str | int = "", *, timeout_s: float | None = None) -> ModelMetadata:
        """The model's versions and tensors, asked anew."""
        call = self._call(timeout_s, name, version)
        return self._channel.send(protocol.model_metadata(name, call.version), call)

    def config(self, name: str, version: str | int = "", *, timeout_s: float | None = None) -> dict[str, Any]:
        """The configuration as the server completed it, in config.pbtxt's terms; unset fields are absent."""
        call = self._call(timeout_s, name, version)
        return self._channel.send(protocol.model_config(name, call.version), call)

    def statistics(
        self, name: str, version: str | int = "", *, timeout_s: float | None = None
    ) -> list[ModelStatistics]:
        """What the model has done since it was loaded, one entry a version."""
        call = self._call(timeout_s, name, version)
        return self._channel.send(protocol.model_statistics(name, call.version), call)

    def _call(
        self, timeout_s: float | None, model: str = "", version: str | int = "", request_id: str | None = None
    ) -> Call:
        return Call(
            endpoint=self.endpoint,
            deadline=Deadline(self.timeout_s if timeout_s is None else checked_timeout(timeout_s)),
            model=model,
            version=str(version),
            request_id=request_id or f"{self._id_prefix}-{next(self._ids)}",
        )

    def _run(self, flow: Flow[T], call: Call) -> T:
        """Answer each question of the flow from the channel; errors are raised where it asked."""
        try:
            rpc = next(flow)
            while True:
                try:
                    reply = self._channel.send(rpc, call)
                except ConchError as exc:
                    rpc = flow.throw(exc)
                else:
                    rpc = flow.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    def _probe(self, rpc: protocol.Rpc[bool], call: Call) -> bool:
        try:
            return self._channel.send(rpc, call)
        except (ServerUnavailable, DeadlineExceeded):
            return False


def _endpoint(url: str) -> str:
    """gRPC's address for the URL: host:port, or one of gRPC's own schemes (dns:, unix:, ipv4:) as it is."""
    if url.startswith(("http://", "https://")):
        raise InvalidInput(f"this client speaks gRPC: give host:port, for instance {DEFAULT_URL}, got {url!r}")
    address = url.strip().removeprefix("grpc://")
    if not address:
        raise InvalidInput(f"the url is empty: give host:port, for instance {DEFAULT_URL}")
    has_port = ":" in address.rpartition("]")[2]
    return address if has_port else f"{address}:{DEFAULT_GRPC_PORT}"


def _several(texts: str | Iterable[str]) -> list[str]:
    """A list, of one where a single text is given."""
    return [texts] if isinstance(texts, str) else list(texts)


def _rereadable(values: object) -> object:
    """Iterators, sets and the like as lists: a call may have to read its values twice."""
    if isinstance(values, str | bytes | bytearray | memoryview | list | tuple | Mapping):
        return values
    if hasattr(values, "__array__") or not isinstance(values, Iterable):
        return values
    return list(values)


def _merged(inputs: Mapping[str, object] | None, tensors: dict[str, object], call: Call) -> dict[str, object]:
    if inputs is None:
        return tensors
    if not isinstance(inputs, Mapping):
        problem = "inputs takes a mapping of tensor names to values"
        raise call.error(InvalidInput, f"{problem}; for a tensor of that name write inputs={{'inputs': ...}}")
    twice = next((name for name in inputs if name in tensors), None)
    if twice is not None:
        raise call.error(InvalidInput, f"input '{twice}' is given twice, in inputs and as an argument: give it once")
    return {**inputs, **tensors}


def _checked_parameters(parameters: Mapping[str, Parameter] | None, call: Call) -> Mapping[str, Parameter]:
    for name, value in (parameters or {}).items():
        if name == QUEUE_TIMEOUT_PARAMETER:
            raise call.error(InvalidInput, "the parameter 'timeout' follows from the call's deadline: use timeout_s")
        if not isinstance(value, bool | int | float | str):
            kind = type(value).__name__
            raise call.error(InvalidInput, f"the parameter '{name}' is a bool, int, float or str, got {kind}")
        if isinstance(value, int) and not INT64_MIN <= value <= UINT64_MAX:
            raise call.error(InvalidInput, f"the parameter '{name}' is beyond 64 bits: {value}")
    return parameters or {}


def _checked_top_k(top_k: int, call: Call) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= INT64_MAX:
        raise call.error(InvalidInput, f"top_k is a whole number of at least 1, got {top_k!r}")
    return top_k
