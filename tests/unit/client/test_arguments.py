"""Whatever a method is given, it raises ConchError only, and for what it cannot take InvalidInput that names it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from conch_client import Client, ConchError, InvalidInput

if TYPE_CHECKING:
    from tests.unit.client.conftest import FakeTriton


masked: Any = np.ma.masked_array


class UnreadableIterable:
    def __iter__(self) -> Iterator[object]:
        raise KeyError("iter")


class UnreadableText:
    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


class UnreadableArray:
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise AttributeError("array")


class UnreadableAttributes:
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class UnreadableShape:
    @property
    def shape(self) -> Any:
        raise KeyError("shape")


class OddShape:
    shape = 5


class UnreadablePath:
    def __fspath__(self) -> str:
        raise KeyError("path")


class UnreadableIndex:
    def __index__(self) -> int:
        raise KeyError("index")


class UnreadableMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("mapping")

    def __len__(self) -> int:
        return 1


class UnreadableFrame:
    columns = ("a",)

    def to_dict(self, orient: str) -> Any:
        raise KeyError(orient)


def broken_generator() -> Iterator[str]:
    yield "a"
    raise ValueError("generator")


def deeply_nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(3000):
        nested = [nested]
    return nested


def in_itself(container: Any) -> Any:
    if isinstance(container, dict):
        container["a"] = container
    else:
        container.append(container)
    return container


SINGLE: list[Callable[[], Any]] = [
    lambda: None,
    lambda: 0,
    lambda: -1,
    lambda: 1.5,
    lambda: math.nan,
    lambda: math.inf,
    lambda: True,
    lambda: 10**400,
    lambda: -(10**5000),
    lambda: 1e12,
    lambda: 1j,
    lambda: "5",
    lambda: "",
    lambda: "a\0b",
    lambda: "lone \ud800",
    lambda: "x" * 100_000,
    lambda: b"a\xff",
    lambda: bytearray(b"a"),
    lambda: memoryview(b"a"),
    lambda: Path("/no/such/file"),
    lambda: Path("/"),
    lambda: Decimal("sNaN"),
    lambda: Fraction(1, 3),
    lambda: date(2026, 1, 1),
    lambda: timedelta(seconds=5),
    lambda: ...,
    lambda: int,
    object,
    UnreadableIterable,
    UnreadableText,
    UnreadableArray,
    UnreadableAttributes,
    UnreadableShape,
    OddShape,
    UnreadablePath,
    UnreadableIndex,
    UnreadableMapping,
    UnreadableFrame,
]
SEVERAL: list[Callable[[], Any]] = [
    dict,
    lambda: {"a": object()},
    lambda: {1: 2, (1, 2): 3},
    lambda: {"a": "\ud800"},
    lambda: {"a": UnreadableIterable()},
    lambda: {"a"},
    lambda: (text for text in "ab"),
    broken_generator,
    lambda: iter([1, 2]),
    lambda: range(3),
    list,
    lambda: [[]],
    lambda: [["a"], ["b", "c"]],
    lambda: ["a", 1, None],
    lambda: [10**400, 1.5],
    lambda: [10**5000],
    deeply_nested,
    lambda: in_itself([]),
    lambda: in_itself({}),
    lambda: [in_itself({})],
]
ARRAYS: list[Callable[[], Any]] = [
    lambda: np.array(5),
    lambda: np.array("a"),
    lambda: np.zeros(0),
    lambda: np.zeros((3, 0)),
    lambda: np.zeros((0, 3)),
    lambda: np.zeros((1,) * 20),
    lambda: np.zeros((4, 4, 0), dtype=np.uint8),
    lambda: np.ones(2, dtype=np.complex64),
    lambda: np.ones(2, dtype=np.longdouble),
    lambda: np.array(["2026-01-01"], dtype="M8[D]"),
    lambda: np.timedelta64(5, "s"),
    lambda: np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]),
    lambda: np.void(b"abc"),
    lambda: np.array([object(), 1], dtype=object),
    lambda: np.array([b"a\xff"]),
    lambda: np.array(["\ud800"]),
    lambda: np.True_,
    lambda: masked([1.0, 2.0], [False, True]),
]
ODD = [*SINGLE, *SEVERAL, *ARRAYS, *(lambda make=make: [make()] for make in SINGLE)]

ARGUMENTS: dict[str, Callable[[Any, Any], Any]] = {
    "embed texts": lambda client, odd: client.embed(odd),
    "classify a model": lambda client, odd: client.classify(odd, "a"),
    "classify texts": lambda client, odd: client.classify("sentiment", odd),
    "classify images": lambda client, odd: client.classify("digits", odd),
    "classify top_k": lambda client, odd: client.classify("sentiment", "a", top_k=odd),
    "score features": lambda client, odd: client.score(odd),
    "score a value": lambda client, odd: client.score({"a": odd}),
    "answer question": lambda client, odd: client.answer(odd, "a"),
    "answer context": lambda client, odd: client.answer("a", odd),
    "answer both": lambda client, odd: client.answer(odd, odd),
    "answer top_k": lambda client, odd: client.answer("a", "b", top_k=odd),
    "answer max_answer_tokens": lambda client, odd: client.answer("a", "b", max_answer_tokens=odd),
    "answer handle_impossible_answer": lambda client, odd: client.answer("a", "b", handle_impossible_answer=odd),
    "entities texts": lambda client, odd: client.entities(odd),
    "entities aggregation_strategy": lambda client, odd: client.entities("a", aggregation_strategy=odd),
    "forecast history": lambda client, odd: client.forecast(odd, 3),
    "forecast one of several": lambda client, odd: client.forecast([[1, 2], odd], 3),
    "forecast horizon": lambda client, odd: client.forecast([1, 2], odd),
    "match images": lambda client, odd: client.match(odd, ["a", "b"]),
    "match labels": lambda client, odd: client.match(b"png", odd),
    "match hypothesis_template": lambda client, odd: client.match(b"png", ["a"], hypothesis_template=odd),
    "zero_shot texts": lambda client, odd: client.zero_shot(odd, ["a", "b"]),
    "zero_shot labels": lambda client, odd: client.zero_shot("a", odd),
    "zero_shot multi_label": lambda client, odd: client.zero_shot("a", ["b"], multi_label=odd),
    "search query": lambda client, odd: client.search(odd),
    "search k": lambda client, odd: client.search("a", k=odd),
    "search filter": lambda client, odd: client.search("a", filter=odd),
    "search a value to filter by": lambda client, odd: client.search("a", filter={"x": odd}),
    "similar item": lambda client, odd: client.similar(odd),
    "recommend liked": lambda client, odd: client.recommend(odd),
    "recommend disliked": lambda client, odd: client.recommend("a", odd),
    "change_catalogue add": lambda client, odd: client.change_catalogue(odd),
    "change_catalogue a field": lambda client, odd: client.change_catalogue([{"id": odd}]),
    "change_catalogue remove": lambda client, odd: client.change_catalogue(remove=odd),
    "infer version": lambda client, odd: client.infer("double", odd, x=[1, 2]),
    "infer inputs": lambda client, odd: client.infer("double", inputs=odd),
    "infer floats": lambda client, odd: client.infer("double", x=odd),
    "infer several floats": lambda client, odd: client.infer("double", x=[odd, odd]),
    "infer whole numbers": lambda client, odd: client.infer("whole", x=odd),
    "infer parameters": lambda client, odd: client.infer("double", x=[1, 2], parameters=odd),
    "infer a parameter": lambda client, odd: client.infer("double", x=[1, 2], parameters={"a": odd}),
    "infer request_id": lambda client, odd: client.infer("double", x=[1, 2], request_id=odd),
    "is_live timeout_s": lambda client, odd: client.is_live(timeout_s=odd),
    "model_ready a model": lambda client, odd: client.model_ready(odd),
    "metadata a model": lambda client, odd: client.metadata(odd),
    "metadata version": lambda client, odd: client.metadata("double", odd),
    "statistics a model": lambda client, odd: client.statistics(odd),
    "Client url": lambda _, odd: Client(odd).close(),
    "Client timeout_s": lambda _, odd: Client(timeout_s=odd).close(),
}


@pytest.fixture
def tasks(fake: FakeTriton) -> FakeTriton:
    """A model for every task, of which none has an answer: what is looked at is what happens before."""
    text = ("BYTES", [1])
    models: dict[str, dict[str, tuple[str, list[int]]]] = {
        "embed": {"text": text},
        "sentiment": {"text": text},
        "digits": {"image": text},
        "risk": {"features": text},
        "qa": {"question": text, "context": text},
        "ner": {"text": text},
        "forecast": {"history": ("FP32", [-1]), "horizon": ("INT32", [1])},
        "image_text": {"image": text, "labels": ("BYTES", [-1])},
        "zero_shot": {"text": text, "labels": ("BYTES", [-1])},
        "search": {"query": text},
        "search_catalogue": {"change": text},
        "whole": {"x": ("INT64", [-1])},
    }
    kind = type(fake.models["double"])
    fake.models |= {name: kind(inputs, {}, lambda _: {}, 8) for name, inputs in models.items()}
    return fake


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_whatever_is_given_only_a_conch_error_is_raised(client: Client, argument: str) -> None:
    for make in ODD:
        odd = make()
        try:
            ARGUMENTS[argument](client, odd)
        except ConchError as refusal:
            assert str(refusal)


TEXTS = "is a text or a list of texts"
WHOLE = "is a whole number of at least 1, got"
WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda client: client.embed("a", model=None), "the name of a model is a text, got NoneType"),
    (lambda client: client.metadata(""), "the name of a model is empty"),
    (lambda client: client.metadata("lone \ud800"), "the name of a model holds a lone surrogate"),
    (lambda client: client.metadata("double", 1.5), r"version is a whole number or its digits, got 1\.5"),
    (lambda client: client.infer("double", x=[1, 2], request_id=7), "request_id is a text, got int"),
    (lambda client: client.infer("double", x=[1, 2], parameters=[1]), "parameters is a mapping, got list"),
    (lambda client: client.infer("double", x=[1, 2], parameters={1: 2}), "the name of a parameter is a text, got int"),
    (lambda client: client.infer("double", inputs={1: 2}), "the name of an input is a text, got int"),
    (lambda client: client.infer("double", x=broken_generator()), "input 'x': the generator .* raised ValueError"),
    (lambda client: client.embed(broken_generator()), "texts: the generator cannot be read, it raised ValueError"),
    (lambda client: client.classify("sentiment", "a", top_k=10**5000), f"top_k {WHOLE} int"),
    (lambda client: client.answer(7, "a"), f"question {TEXTS}, got int"),
    (lambda client: client.answer("a", ["b", 7]), rf"context {TEXTS}, got int at \[1\]"),
    (lambda client: client.answer("a", "b", max_answer_tokens=0), f"max_answer_tokens {WHOLE} 0"),
    (lambda client: client.answer("a", "b", handle_impossible_answer="no"), "is True or False, got str"),
    (lambda client: client.entities("a", aggregation_strategy=7), "aggregation_strategy is a text, got int"),
    (lambda client: client.forecast(["a", [1]], 3), "a history is a list or an array"),
    (lambda client: client.forecast(masked([1.0], [True]), 3), "masked, .*: fill them first"),
    (lambda client: client.match(b"png", 7), "labels is a list of texts, got int"),
    (lambda client: client.match(b"png", ["a"], hypothesis_template=7), "hypothesis_template is a text, got int"),
    (lambda client: client.zero_shot("a", {"b": 1}), "labels is a list of texts, got dict"),
    (lambda client: client.zero_shot(7, ["a"]), f"texts {TEXTS}, got int"),
    (lambda client: client.zero_shot("a", ["b"], multi_label=1), "multi_label is True or False, got 1"),
    (lambda client: client.search(b"tea"), f"query {TEXTS}, got bytes"),
    (lambda client: client.search("lone \ud800"), "query holds a lone surrogate"),
    (lambda client: client.search("tea", k=True), f"k {WHOLE} True"),
    (lambda client: client.search("tea", filter=["a"]), "filter is a mapping, got list"),
    (lambda client: client.search("tea", filter={"a": b"b"}), "filter cannot be written as JSON: bytes has no place"),
    (lambda client: client.search("tea", filter={"a": deeply_nested()}), "filter .* is nested too deeply"),
    (lambda client: client.similar(7), f"item {TEXTS}, got int"),
    (lambda client: client.recommend(None), f"liked {TEXTS}, got NoneType"),
    (lambda client: client.recommend("a", 7), f"disliked {TEXTS}, got int"),
    (lambda client: client.change_catalogue({"id": "a"}), "add is a list of mappings, got a single one"),
    (lambda client: client.change_catalogue([7]), r"add is a list of mappings, got int at \[0\]"),
    (lambda client: client.change_catalogue([{"id": "\ud800"}]), "add cannot be written as JSON: .*lone surrogate"),
    (lambda client: client.change_catalogue(remove=7), f"remove {TEXTS}, got int"),
    (lambda client: client.is_ready(timeout_s="5"), "timeout_s is a positive number of seconds .* got str"),
    (lambda client: client.is_ready(timeout_s=True), "timeout_s is a positive number of seconds .* got True"),
]


@pytest.mark.parametrize(("call", "said"), WRONG, ids=[said for _, said in WRONG])
def test_an_argument_of_a_wrong_type_is_refused_by_name_before_anything_is_asked(
    client: Client, fake: FakeTriton, call: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        call(client)
    assert not fake.asked


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: client.embed(7), r"input 'text' \(BYTES \[batch, 1\]\): it takes text or bytes, got int"),
        (lambda client: client.embed(deeply_nested()), "input 'text' .* the list is nested too deeply"),
        (lambda client: client.classify("digits", UnreadablePath()), "input 'image' .* it raised KeyError"),
        (lambda client: client.score(UnreadableFrame()), "input 'features' .* it raised KeyError"),
        (lambda client: client.infer("double", x=UnreadableArray()), "input 'x' .* it raised AttributeError"),
        (lambda client: client.infer("double", x=masked([1.0, 2.0], [True, False])), "masked, .*: fill them first"),
        (lambda client: client.infer("double", x=[10**400, 1.5]), "input 'x' .* a whole number beyond 64 bits"),
    ],
)
def test_a_value_that_does_not_fit_or_cannot_be_read_is_refused_by_its_tensor(
    client: Client, fake: FakeTriton, call: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        call(client)
    assert not fake.requests


def test_numbers_of_numpy_are_numbers(client: Client, fake: FakeTriton) -> None:
    client.classify("sentiment", "abc", top_k=np.int64(1), timeout_s=np.float32(5))  # type: ignore[call-overload]
    assert fake.requests[0].parameters["top_k"].int64_param == 1
    assert client.infer("double", np.int64(1), x=[1, 2]).version == "1"  # type: ignore[arg-type]


def test_a_message_never_tells_what_a_text_says(client: Client) -> None:
    for call in (lambda: client.match(b"png", "secret"), lambda: client.classify("m", "a", top_k="secret")):  # type: ignore
        with pytest.raises(InvalidInput) as refused:
            call()
        assert "secret" not in str(refused.value)
