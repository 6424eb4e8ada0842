"""Questions on the running server: places in the text, long texts by windows, and bad requests that fail alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from conch_client import Answer, Client, DeadlineExceeded, InvalidInput
from conch_tools.pipelines import load_pipeline
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

CALLERS = 16
TOLERANCE = 1e-5
LONG_TIMEOUT_S = 280
QUESTION = "Who built the lighthouse?"
FACT = (
    "The lighthouse of Port Ellary was built in 1871 by Ingrid Solheim, an engineer from Bergen. "
    "It stands 42 metres above the sea and was lit with whale oil until 1903."
)
FILLER = "The bakery on Mill Street opens at six and sells rye bread. "
SAMPLES = load_pipeline(Settings().repository / "qa").samples


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url, timeout_s=60) as client:
        yield client


def same(one: Answer, other: Answer) -> bool:
    return (one.text, one.start, one.end) == (other.text, other.start, other.end) and (
        abs(one.score - other.score) < TOLERANCE
    )


def test_the_samples_are_answered(client: Client) -> None:
    questions = [str(sample.input["question"]) for sample in SAMPLES]
    contexts = [str(sample.input["context"]) for sample in SAMPLES]
    answers = client.answer(questions, contexts)
    assert [each.text for each in answers] == [sample.expect["answers"][0]["text"] for sample in SAMPLES]


@pytest.mark.parametrize("before", ["", "🙂🙂 ", "e\u0301 — ", "שלום עולם. ", "\t\r\n 東京。"], ids=ascii)
def test_places_are_counted_in_the_characters_that_were_sent(client: Client, before: str) -> None:
    context = before + FACT
    answer = client.answer(QUESTION, context)
    assert answer.text == context[answer.start : answer.end] == "Ingrid Solheim"


def test_a_text_without_the_answer_gives_an_empty_one_unless_it_is_forced(client: Client) -> None:
    assert client.answer("How tall is the bridge?", FILLER).text == ""
    assert client.answer("How tall is the bridge?", FILLER, handle_impossible_answer=False).text


@pytest.mark.parametrize("context", ["\u200b\u200d", "\x00"], ids=ascii)
def test_a_context_of_characters_that_are_nothing_to_read_gives_an_empty_answer(client: Client, context: str) -> None:
    assert client.answer(QUESTION, context).text == ""
    assert client.answer(QUESTION, context, handle_impossible_answer=False).text == ""


def test_top_k_names_the_next_best_answers(client: Client) -> None:
    answer = client.answer(QUESTION, FACT, top_k=3, max_answer_tokens=4)
    scores = [answer.score, *(other.score for other in answer.others)]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert client.answer(QUESTION, FACT).others == ()


def test_one_request_of_many_and_many_of_one_answer_the_same(client: Client) -> None:
    contexts = [FILLER * (number % 9) + FACT + FILLER * (number % 5) for number in range(24)]

    def ask(some: list[str]) -> list[Answer]:
        return client.answer(QUESTION, some)

    alone = [client.answer(QUESTION, context) for context in contexts]
    cuts = [contexts, contexts[:7], contexts[7:9], contexts[9:]]
    with ThreadPoolExecutor(CALLERS) as callers:
        whole, *parts = callers.map(ask, cuts)
        singles = [answer for answers in callers.map(ask, [[context] for context in contexts]) for answer in answers]
    joined = [answer for part in parts for answer in part]
    for answers in (whole, joined, singles):
        assert all(same(*pair) for pair in zip(answers, alone, strict=True))


@pytest.mark.timeout(300)
def test_a_batch_of_eight_long_texts_is_answered_each_in_its_place(client: Client) -> None:
    words = len(FILLER.split())
    contexts = []
    for number in range(8):
        before = FILLER * (number * 100)
        contexts.append(before + FACT + " " + FILLER * (10_000 // words - number * 100))
    assert all(len(context.split()) >= 10_000 for context in contexts)
    started = time.monotonic()
    answers = client.answer(QUESTION, contexts, timeout_s=LONG_TIMEOUT_S, handle_impossible_answer=False)
    print(f"8 x 10,000 words: {time.monotonic() - started:.1f} s")
    for number, (answer, context) in enumerate(zip(answers, contexts, strict=True)):
        assert context[answer.start : answer.end] == answer.text == "Ingrid Solheim"
        assert answer.start == len(FILLER * (number * 100)) + FACT.index("Ingrid")


def test_nobody_waits_long_behind_a_long_text_or_behind_one_that_was_given_up(client: Client) -> None:
    long = FILLER * 400
    with ThreadPoolExecutor(2) as callers:
        started = time.monotonic()
        reading = callers.submit(client.answer, QUESTION, [long] * 8, timeout_s=LONG_TIMEOUT_S)
        given_up = callers.submit(client.answer, QUESTION, [long] * 8, timeout_s=1.0)
        with pytest.raises(DeadlineExceeded):
            given_up.result()
        asked = time.monotonic()
        assert client.answer(QUESTION, FACT).text == "Ingrid Solheim"
        answered = time.monotonic()
        reading.result()
        took = time.monotonic() - started
    print(f"short: {answered - asked:.1f} s beside one of {took:.1f} s")
    assert answered - asked < took / 3


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"context": b"\xff"}, {}, "not UTF-8"),
    ({"context": b""}, {}, "is empty"),
    ({"question": b"why " * 300}, {}, r"`question`\[0\] has 300 tokens"),
    ({"context": b"a" * (1 << 21)}, {}, "the limit is"),
    ({}, {"top_k": 0}, "top_k"),
    ({}, {"handle_impossible_answer": "perhaps"}, "true or false"),
]


def test_bad_requests_fail_alone_among_good_ones(client: Client) -> None:
    contexts = [FILLER * (number % 4) + FACT for number in range(12)]
    alone = [client.answer(QUESTION, context) for context in contexts]

    def ask(number: int) -> Answer | None:
        if number % 3:
            return client.answer(QUESTION, contexts[number % 12])
        spoilt, parameters, problem = BAD[number // 3 % len(BAD)]
        values = {"question": QUESTION.encode(), "context": FACT.encode(), **spoilt}
        tensors = {name: np.array([[value]], dtype=np.object_) for name, value in values.items()}
        with pytest.raises(InvalidInput, match=problem):
            client.infer("qa", inputs=tensors, parameters=parameters)
        return None

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(90)))
    for number, answer in enumerate(answers):
        assert answer is None or same(answer, alone[number % 12])


def test_over_http_the_answers_are_json_and_a_bad_row_is_a_400(triton: EmbeddedServer) -> None:
    def send(context: str) -> httpx.Response:
        inputs = [
            {"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [text]}
            for name, text in (("question", QUESTION), ("context", context))
        ]
        body = {"inputs": inputs, "parameters": {"top_k": 2}}
        return httpx.post(f"http://{triton.http_url}/v2/models/qa/infer", json=body, timeout=60, trust_env=False)

    best, second = json.loads(send(FACT).json()["outputs"][0]["data"][0])
    assert best["text"] == "Ingrid Solheim" and set(best) == set(second) == {"text", "score", "start", "end"}
    refused = send(" ")
    assert refused.status_code == 400 and "`context`[0] is empty" in refused.json()["error"]
