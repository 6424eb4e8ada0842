"""The pipelines on the running server: right answers in every batch they may meet, and bad requests that fail alone."""

from __future__ import annotations

import functools
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from conch_client import Client, InvalidInput
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings
from conch_tools.training import risk

TOLERANCE = 1e-5
"""Largest difference that a batch may make to a number of an answer."""

CALLERS = 16
WORDS = "the parcel arrived two days late but nothing was broken and they answered within an hour"
PIPELINES = load_pipelines(Settings().repository)
OF_ONE_INPUT = [each for each in PIPELINES if set(each.samples[0].input) in ({"text"}, {"image"}, {"features"})]
"""Those that take a text, an image or features and nothing else; what the others take is mixed in their own tests."""
Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


def texts_of_mixed_length(count: int, seed: int = 7) -> list[str]:
    """Texts of 4 to 60 words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS.split(), random.integers(4, 61))) for _ in range(count)]


handwritten = functools.cache(load_digits)


def digit(number: int) -> Pixels:
    """A handwritten digit [64, 64], light on dark, eight times as large as the data set has it."""
    pixels: npt.NDArray[np.float64] = handwritten().images[number]
    return np.kron(pixels * 255 / 16, np.ones((8, 8))).astype(np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


def batch(items: Sequence[str | bytes]) -> npt.NDArray[np.object_]:
    """BYTES [n, 1]."""
    return np.array([[item] for item in items], dtype=np.object_)


def public_input(pipeline: Pipeline) -> str:
    return next(iter(pipeline.samples[0].input))


def items_of(pipeline: Pipeline, count: int) -> list[str] | list[bytes]:
    if public_input(pipeline) == "image":
        return [encoded(Image.fromarray(digit(number))) for number in range(count)]
    if public_input(pipeline) == "features":
        return [json.dumps(dict(patient.values)) for patient in risk.patients()[:count]]
    return texts_of_mixed_length(count)


def assert_same(answer: Any, expected: Any) -> None:
    assert set(answer) == set(expected)
    for name in expected:
        if np.issubdtype(np.asarray(expected[name]).dtype, np.number):
            np.testing.assert_allclose(answer[name], expected[name], atol=TOLERANCE)
        else:
            assert answer[name].tolist() == expected[name].tolist()


@pytest.mark.parametrize("pipeline", OF_ONE_INPUT, ids=lambda pipeline: pipeline.name)
def test_one_request_of_many_many_of_one_and_any_mix_answer_the_same(client: Client, pipeline: Pipeline) -> None:
    items = items_of(pipeline, 40)
    cuts = [0, 1, 3, 10, 11, 40]
    mixed = [list(range(start, end)) for start, end in itertools.pairwise(cuts)]
    requests = [list(range(40)), *mixed, *([number] for number in range(40))]

    def ask(chosen: list[int]) -> Any:
        return client.infer(pipeline.name, inputs={public_input(pipeline): batch([items[each] for each in chosen])})

    alone = [ask([number]) for number in range(40)]
    with ThreadPoolExecutor(CALLERS) as callers:
        together = list(callers.map(ask, requests))
    for chosen, answer in zip(requests, together, strict=True):
        assert_same(answer, {name: np.concatenate([alone[each][name] for each in chosen]) for name in answer})


@pytest.mark.parametrize("callers", [16, 32])
def test_texts_of_mixed_lengths_share_executions(client: Client, callers: int) -> None:
    texts = texts_of_mixed_length(400)
    (before,) = client.statistics("embed_model")
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(client.embed, texts))
    (after,) = client.statistics("embed_model")
    executions = after.execution_count - before.execution_count
    assert (after.inference_count - before.inference_count) / executions > 2.5


@pytest.mark.parametrize(
    ("pipeline", "step", "bad"),
    [
        ("embed", "embed_tokenize", {"text": b"\xff"}),
        ("embed", "embed_tokenize", {"text": b"a" * (1 << 21)}),
        ("digits", "digits_decode", {"image": b"not an image"}),
        ("digits", "digits_labels", {"top_k": 0}),
        ("sentiment", "sentiment_labels", {"top_k": "none"}),
    ],
    ids=["not UTF-8", "too long", "no image", "top_k zero", "top_k a word"],
)
def test_bad_requests_fail_alone_among_good_ones(client: Client, pipeline: str, step: str, bad: dict[str, Any]) -> None:
    known = next(each for each in PIPELINES if each.name == pipeline)
    items = items_of(known, 24)
    alone = [client.infer(pipeline, inputs={public_input(known): batch([item])}) for item in items]
    spoilt = {key: batch([value]) for key, value in bad.items() if key == public_input(known)}
    parameters = {key: value for key, value in bad.items() if key != public_input(known)}

    def ask(number: int) -> Any:
        good = {public_input(known): batch([items[number % 24]])}
        if number % 3:
            return client.infer(pipeline, inputs=good)
        with pytest.raises(InvalidInput) as refused:
            client.infer(pipeline, inputs={**good, **spoilt}, parameters=parameters)
        return refused

    (before,) = client.statistics(step)
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(240)))
    (after,) = client.statistics(step)
    for number, answer in enumerate(answers):
        if number % 3:
            assert_same(answer, alone[number % 24])
    assert after.execution_count - before.execution_count < 240, "no request shared an execution with another"


def test_near_texts_have_near_embeddings(client: Client) -> None:
    bicycle, saddle, tax = client.embed(
        ["a red bicycle", "two wheels, a saddle and handlebars", "the tax return is due in May"]
    )
    assert bicycle @ saddle > bicycle @ tax + 0.1


def test_a_long_text_counts_up_to_its_limit(client: Client) -> None:
    limit = next(each.text for each in PIPELINES if each.name == "embed")
    assert limit is not None
    words = ["word"] * 10_000
    at_the_limit = " ".join(words[: limit.max_tokens - 2])
    np.testing.assert_allclose(client.embed(" ".join(words)), client.embed(at_the_limit), atol=TOLERANCE)
    shorter = client.embed(at_the_limit.replace("word", "other", 1))
    assert np.abs(shorter - client.embed(at_the_limit)).max() > 1e-3


def gray(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels)


def sixteen_bits(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint16) * 257)


def ink_on_nothing(pixels: Pixels) -> Image.Image:
    """Black where the digit is dark, see-through where it is light: white shines through."""
    return Image.merge("LA", (Image.new("L", (pixels.shape[1], pixels.shape[0]), 0), Image.fromarray(255 - pixels)))


FORMS: dict[str, Callable[[Pixels], bytes]] = {
    "PNG": lambda pixels: encoded(gray(pixels)),
    "JPEG": lambda pixels: encoded(gray(pixels), "JPEG", quality=90),
    "JPEG in CMYK": lambda pixels: encoded(gray(pixels).convert("RGB").convert("CMYK"), "JPEG", quality=90),
    "WebP": lambda pixels: encoded(gray(pixels).convert("RGB"), "WEBP", lossless=True),
    "colour": lambda pixels: encoded(gray(pixels).convert("RGB")),
    "palette": lambda pixels: encoded(gray(pixels).convert("P")),
    "16 bits": lambda pixels: encoded(sixteen_bits(pixels)),
    "transparent": lambda pixels: encoded(ink_on_nothing(pixels)),
    "large": lambda pixels: encoded(gray(pixels).resize((1500, 1500))),
    "small": lambda pixels: encoded(gray(pixels).resize((12, 12), Image.Resampling.BOX)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_digit_is_read_from_an_image_of_any_form(client: Client, form: str) -> None:
    numbers = range(30)
    answers = client.classify("digits", [FORMS[form](digit(number)) for number in numbers])
    right = sum(answer.label == str(handwritten().target[number]) for number, answer in enumerate(answers))
    assert right >= 28


def test_an_image_is_turned_upright_as_its_exif_says(client: Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(gray(np.rot90(digit(7)).copy()), "JPEG", quality=95, exif=exif)
    assert client.classify("digits", lying).label == "7"


def test_top_k_limits_the_classes_of_every_row(client: Client) -> None:
    images = batch([encoded(gray(digit(number))) for number in range(3)])
    every = client.infer("digits", image=images)
    three = client.infer("digits", image=images, parameters={"top_k": 3})
    assert every["label"].shape == (3, 10) and three["label"].shape == (3, 3)
    assert three["label"].tolist() == every["label"][:, :3].tolist()
    np.testing.assert_allclose(every["score"].sum(axis=1), 1, atol=TOLERANCE)
