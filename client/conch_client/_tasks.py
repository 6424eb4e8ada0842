"""The tasks that Conch's pipelines do, as methods: signatures and their contracts.

What a method asks and how it reads the answers is in `_flows`. Which flow is run how is the client's affair.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from . import _flows as flows
from ._call import Call
from ._calls import Calls
from ._flows import Flow
from ._inputs import PilImage
from ._results import Answer, CatalogueChange, Classification, Entity, Forecast, SearchResult
from ._spec import Catalog

T = TypeVar("T")

Timeout: TypeAlias = float | None
"""Seconds the whole call may last, `math.inf` for no limit; None for the client's own limit."""

Limit: TypeAlias = int | None
"""At most so many, at least 1; None for the model's own number."""

Several: TypeAlias = list[Any] | tuple[Any, ...]
Texts: TypeAlias = list[str] | tuple[str, ...]
Image: TypeAlias = str | bytes | os.PathLike[str] | PilImage
"""A file's path or its bytes, or a PIL image. Arrays of pixels have no type that tells one from several."""
Filter: TypeAlias = Mapping[str, object] | None


class Tasks:
    """The methods of the tasks, over a channel that a subclass has."""

    _calls: Calls
    _catalog: Catalog

    def _run(self, flow: Flow[T], call: Call) -> T:
        """Answer each question of the flow, and give back its result. Raises ConchError."""
        raise NotImplementedError

    def embed(
        self, texts: str | Iterable[str], model: str = "embed", *, timeout_s: Timeout = None
    ) -> NDArray[np.float32]:
        """Embeddings [n, dim] of n texts in their order, [dim] of a single one."""
        call = self._calls.to_model(model, timeout_s)
        return self._run(flows.embed(self._catalog, call, texts), call)

    @overload
    def classify(
        self, name: str, inputs: Image | Mapping[str, object], *, top_k: Limit = None, timeout_s: Timeout = None
    ) -> Classification: ...

    @overload
    def classify(
        self, name: str, inputs: Several, *, top_k: Limit = None, timeout_s: Timeout = None
    ) -> list[Classification]: ...

    @overload
    def classify(
        self, name: str, inputs: object, *, top_k: Limit = None, timeout_s: Timeout = None
    ) -> Classification | list[Classification]: ...

    def classify(
        self, name: str, inputs: object, *, top_k: Limit = None, timeout_s: Timeout = None
    ) -> Classification | list[Classification]:
        """What the classifier `name` says: one Classification for one input, a list in order for several.

        The model decides what an input is. For text it is a str; for images the path of a file, its bytes, a
        PIL image or a uint8 array [H, W] or [H, W, channels]; for features a mapping of names to values, or
        the rows of a DataFrame. A str is read as a path for image models only. A PIL image is turned upright by
        its Exif orientation, as a file of it is. `top_k` limits the labels each answer names.
        """
        call = self._calls.to_model(name, timeout_s)
        return self._run(flows.classify(self._catalog, call, inputs, top_k=top_k), call)

    @overload
    def score(
        self, features: Mapping[str, object], model: str = "risk", *, timeout_s: Timeout = None
    ) -> Classification: ...

    @overload
    def score(self, features: Several, model: str = "risk", *, timeout_s: Timeout = None) -> list[Classification]: ...

    @overload
    def score(
        self, features: object, model: str = "risk", *, timeout_s: Timeout = None
    ) -> Classification | list[Classification]: ...

    def score(
        self, features: object, model: str = "risk", *, timeout_s: Timeout = None
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
        top_k: Limit = None,
        max_answer_tokens: Limit = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: Timeout = None,
    ) -> Answer: ...

    @overload
    def answer(
        self,
        question: Texts,
        context: str | Texts,
        model: str = "qa",
        *,
        top_k: Limit = None,
        max_answer_tokens: Limit = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: Timeout = None,
    ) -> list[Answer]: ...

    @overload
    def answer(
        self,
        question: str,
        context: Texts,
        model: str = "qa",
        *,
        top_k: Limit = None,
        max_answer_tokens: Limit = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: Timeout = None,
    ) -> list[Answer]: ...

    def answer(
        self,
        question: str | Texts,
        context: str | Texts,
        model: str = "qa",
        *,
        top_k: Limit = None,
        max_answer_tokens: Limit = None,
        handle_impossible_answer: bool | None = None,
        timeout_s: Timeout = None,
    ) -> Answer | list[Answer]:
        """The words of a context that answer a question: one Answer, or a list in order for several of either.

        One text goes with each of several others: many questions on one context, or one question on many. With
        `top_k` an Answer names the next best ones too. `max_answer_tokens` limits an answer's length (default 15 of
        the model's tokens); `handle_impossible_answer` says whether an empty answer may win (default True). A context
        may be long: thousands of words take seconds, so give `timeout_s` the time.
        """
        call = self._calls.to_model(model, timeout_s)
        flow = flows.answer(
            self._catalog,
            call,
            question,
            context,
            top_k=top_k,
            max_answer_tokens=max_answer_tokens,
            handle_impossible_answer=handle_impossible_answer,
        )
        return self._run(flow, call)

    @overload
    def entities(
        self, texts: str, model: str = "ner", *, aggregation_strategy: str | None = None, timeout_s: Timeout = None
    ) -> list[Entity]: ...

    @overload
    def entities(
        self, texts: Texts, model: str = "ner", *, aggregation_strategy: str | None = None, timeout_s: Timeout = None
    ) -> list[list[Entity]]: ...

    def entities(
        self,
        texts: str | Texts,
        model: str = "ner",
        *,
        aggregation_strategy: str | None = None,
        timeout_s: Timeout = None,
    ) -> list[Entity] | list[list[Entity]]:
        """The named entities of a text in its order; of several texts, a list for each.

        `aggregation_strategy` says how tokens become entities, as in transformers: none, simple, first, average or
        max; the model has its own default. A text may be long: thousands of words take seconds, so give `timeout_s`
        the time.
        """
        call = self._calls.to_model(model, timeout_s)
        flow = flows.entities(self._catalog, call, texts, aggregation_strategy=aggregation_strategy)
        return self._run(flow, call)

    @overload
    def forecast(
        self,
        history: Sequence[float] | NDArray[Any],
        horizon: int,
        model: str = "forecast",
        *,
        timeout_s: Timeout = None,
    ) -> Forecast: ...

    @overload
    def forecast(
        self,
        history: Sequence[Sequence[float] | NDArray[Any]],
        horizon: int,
        model: str = "forecast",
        *,
        timeout_s: Timeout = None,
    ) -> list[Forecast]: ...

    def forecast(
        self, history: object, horizon: int, model: str = "forecast", *, timeout_s: Timeout = None
    ) -> Forecast | list[Forecast]:
        """The next `horizon` values of a series with their prediction interval; of a list of series, a list.

        A history is a list or an array of numbers, oldest first, of any length; those of a list may differ in length,
        and each length is a request of its own.
        """
        call = self._calls.to_model(model, timeout_s)
        return self._run(flows.forecast(self._catalog, call, history, horizon), call)

    @overload
    def match(
        self,
        images: Image,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: Limit = None,
        timeout_s: Timeout = None,
    ) -> Classification: ...

    @overload
    def match(
        self,
        images: Several,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: Limit = None,
        timeout_s: Timeout = None,
    ) -> list[Classification]: ...

    @overload
    def match(
        self,
        images: object,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: Limit = None,
        timeout_s: Timeout = None,
    ) -> Classification | list[Classification]: ...

    def match(
        self,
        images: object,
        labels: Iterable[str],
        model: str = "image_text",
        *,
        hypothesis_template: str | None = None,
        top_k: Limit = None,
        timeout_s: Timeout = None,
    ) -> Classification | list[Classification]:
        """Which of these labels fits an image: one Classification for one image, a list in order for several.

        An image is what `classify` takes; all are asked the same labels. `hypothesis_template` is the sentence that a
        label is put into, with {} where it goes; the model has its own default. `top_k` limits the labels each answer
        names.
        """
        call = self._calls.to_model(model, timeout_s)
        flow = flows.match(self._catalog, call, images, labels, hypothesis_template=hypothesis_template, top_k=top_k)
        return self._run(flow, call)

    @overload
    def zero_shot(
        self,
        texts: str,
        labels: Iterable[str],
        model: str = "zero_shot",
        *,
        multi_label: bool | None = None,
        hypothesis_template: str | None = None,
        timeout_s: Timeout = None,
    ) -> Classification: ...

    @overload
    def zero_shot(
        self,
        texts: Texts,
        labels: Iterable[str],
        model: str = "zero_shot",
        *,
        multi_label: bool | None = None,
        hypothesis_template: str | None = None,
        timeout_s: Timeout = None,
    ) -> list[Classification]: ...

    def zero_shot(
        self,
        texts: str | Texts,
        labels: Iterable[str],
        model: str = "zero_shot",
        *,
        multi_label: bool | None = None,
        hypothesis_template: str | None = None,
        timeout_s: Timeout = None,
    ) -> Classification | list[Classification]:
        """Which of these labels fits a text: one Classification for one text, a list in order for several.

        All texts are asked the same labels. `hypothesis_template` is the sentence that a label is put into, with {}
        where it goes; the model has its own default. With `multi_label` each label is judged for itself, so several
        or none may score high: only models of natural-language inference can say that.
        """
        call = self._calls.to_model(model, timeout_s)
        flow = flows.zero_shot(
            self._catalog, call, texts, labels, multi_label=multi_label, hypothesis_template=hypothesis_template
        )
        return self._run(flow, call)

    @overload
    def search(
        self, query: str, model: str = "search", *, k: Limit = None, filter: Filter = None, timeout_s: Timeout = None
    ) -> list[SearchResult]: ...

    @overload
    def search(
        self, query: Texts, model: str = "search", *, k: Limit = None, filter: Filter = None, timeout_s: Timeout = None
    ) -> list[list[SearchResult]]: ...

    def search(
        self,
        query: str | Texts,
        model: str = "search",
        *,
        k: Limit = None,
        filter: Filter = None,
        timeout_s: Timeout = None,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """The items that mean most nearly what the query says, best first; of several queries, a list for each.

        `k` items at most, by default 5. `filter` says what they must be: `category` one or a list of them, `price` and
        `year` as {"min": .., "max": ..}, `in_stock` True or False.
        """
        call = self._calls.to_model(model, timeout_s)
        return self._run(flows.search(self._catalog, call, query, k=k, filter=filter), call)

    @overload
    def similar(
        self, item: str, model: str = "search", *, k: Limit = None, filter: Filter = None, timeout_s: Timeout = None
    ) -> list[SearchResult]: ...

    @overload
    def similar(
        self, item: Texts, model: str = "search", *, k: Limit = None, filter: Filter = None, timeout_s: Timeout = None
    ) -> list[list[SearchResult]]: ...

    def similar(
        self,
        item: str | Texts,
        model: str = "search",
        *,
        k: Limit = None,
        filter: Filter = None,
        timeout_s: Timeout = None,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """More like an item, named by its id, which is not among them; of several ids, a list for each."""
        call = self._calls.to_model(model, timeout_s)
        return self._run(flows.similar(self._catalog, call, item, k=k, filter=filter), call)

    def recommend(
        self,
        liked: str | Iterable[str],
        disliked: str | Iterable[str] = (),
        model: str = "search",
        *,
        k: Limit = None,
        filter: Filter = None,
        timeout_s: Timeout = None,
    ) -> list[SearchResult]:
        """For someone who liked these items, named by their ids, and disliked those; none of them is in the answer."""
        call = self._calls.to_model(model, timeout_s)
        return self._run(flows.recommend(self._catalog, call, liked, disliked, k=k, filter=filter), call)

    def change_catalogue(
        self,
        add: Iterable[Mapping[str, object]] = (),
        remove: str | Iterable[str] = (),
        model: str = "search_catalogue",
        *,
        timeout_s: Timeout = None,
    ) -> CatalogueChange:
        """Add items, or replace those whose id is there, and remove ids: all of it, or nothing where one is not sound.

        An item has `id`, `title`, `text`, `category`, `price`, `in_stock` and `year`. A search that begins after this
        has returned sees the change. Asking for the same again changes nothing more.
        """
        call = self._calls.to_model(model, timeout_s)
        return self._run(flows.change_catalogue(self._catalog, call, add, remove), call)
