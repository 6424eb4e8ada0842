"""The pipeline `ner` on the running server: what transformers finds, in every batch and at every length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, BertForTokenClassification, TokenClassificationPipeline

from conch_client import Client, Entity, InvalidInput
from conch_tools.server import EmbeddedServer
from conch_tools.training import encoder_folder, ner

CALLERS = 16
STRATEGIES = ["none", "simple", "first", "average", "max"]
MAX_TOKENS, OVERLAP = 128, 32
"""As model_repository/ner_entities/config.pbtxt says."""
HELDOUT = [sentence.text for sentence in ner.heldout()]
AWKWARD = [
    "🙂🙂 Ingrid Solheim moved to 東京 on 4 May 2021 🎉",
    "Jose\u0301 A\u0301lvarez met Zoë O'Brien-Müller in São Paulo.",
    "דוד לוי פגש את Maria Kowalska ב-Lisbon ביום 3 March 2024",
    "محمد سافر إلى Paris يوم الثلاثاء مع Ana",
    "a\u200bb \u0000 [SEP] [MASK] ## Oslo\r\n\tBergen",
    "",
]


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def classifier() -> BertForTokenClassification:
    return ner.load(encoder_folder())


def transformers_entities(
    classifier: BertForTokenClassification, texts: Sequence[str], strategy: str
) -> list[list[dict[str, Any]]]:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder(), model_max_length=MAX_TOKENS)
    windows: dict[str, Any] = {} if strategy == "none" else {"stride": OVERLAP}
    pipeline = TokenClassificationPipeline(
        model=classifier, tokenizer=tokenizer, aggregation_strategy=strategy, device="cpu", **windows
    )
    return [pipeline(text) if text else [] for text in texts]


def places(entities: Sequence[Entity]) -> list[tuple[str, int, int]]:
    return [(entity.type, entity.start, entity.end) for entity in entities]


def assert_equal(found: Sequence[Entity], wanted: Sequence[dict[str, Any]], text: str) -> None:
    assert places(found) == [
        (each.get("entity_group") or each["entity"], each["start"], each["end"]) for each in wanted
    ]
    np.testing.assert_allclose([each.score for each in found], [each["score"] for each in wanted], atol=1e-4)
    assert all(each.text == text[each.start : each.end] for each in found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_finds_what_transformers_finds(
    client: Client, classifier: BertForTokenClassification, strategy: str
) -> None:
    texts = [*AWKWARD, *HELDOUT[:20]]
    found = client.entities(texts, aggregation_strategy=strategy)
    for text, entities, wanted in zip(texts, found, transformers_entities(classifier, texts, strategy), strict=True):
        assert_equal(entities, wanted, text)


def test_a_long_text_is_read_to_its_end_as_transformers_reads_it(
    client: Client, classifier: BertForTokenClassification
) -> None:
    text = " ".join(HELDOUT[:60])
    (wanted,) = transformers_entities(classifier, [text], "first")
    found = client.entities(text)
    assert_equal(found, wanted, text)
    assert found[-1].start > len(text) * 0.9


def test_ten_thousand_words_in_a_batch_of_several_are_answered(client: Client) -> None:
    words = " ".join(HELDOUT).split()
    long = " ".join((words * (10_000 // len(words) + 1))[:10_000])
    short = "Ingrid Solheim moved to Bergen."
    first, alone = client.entities([long, short], timeout_s=300)
    assert first[-1].end > len(long) * 0.9
    assert places(alone) == [("person", 0, 14), ("place", 24, 30)]


def test_one_text_has_one_list_and_no_text_none(client: Client) -> None:
    entities = client.entities("Ingrid Solheim moved to Bergen.")
    assert places(entities) == [("person", 0, 14), ("place", 24, 30)]
    assert client.entities("") == []
    assert client.entities([]) == []


def test_bad_requests_fail_alone_among_good_ones(client: Client) -> None:
    texts = HELDOUT[:24]
    alone = [client.entities(text) for text in texts]
    bad: list[tuple[Any, dict[str, Any]]] = [
        (np.array([[b"\xff"]], dtype=np.object_), {}),
        ("a" * (1 << 20), {}),
        ("Ada", {"aggregation_strategy": "best"}),
        ("Ada", {"aggregation_strategy": 1}),
    ]

    def ask(number: int) -> Any:
        if number % 3:
            return client.entities(texts[number % 24])
        text, parameters = bad[number // 3 % len(bad)]
        with pytest.raises(InvalidInput) as refused:
            client.infer("ner", inputs={"text": text}, parameters=parameters)
        return refused.value

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(96)))
    for number, answer in enumerate(answers):
        if number % 3:
            assert places(answer) == places(alone[number % 24])


@pytest.mark.parametrize(
    ("text", "parameters", "said"),
    [
        (b"\xff", {}, r"`text`\[0\] is not UTF-8"),
        (b"a" * (1 << 19), {}, "the limit is 262144"),
        (b"Ada", {"aggregation_strategy": "best"}, "must be one of none, simple, first, average, max"),
    ],
)
def test_a_refusal_says_what_is_wrong(client: Client, text: bytes, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        client.infer("ner", inputs={"text": np.array([[text]], dtype=np.object_)}, parameters=parameters)
