"""Zero-shot classification on the running server: labels of the caller's own, by similarity and by a model of
natural-language inference that a test adds to a repository as a user would.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
from transformers import pipeline as transformers_pipeline

from conch_client import Classification, Client, ConchError, InvalidInput
from conch_tools.build.run import build
from conch_tools.build.zero_shot_data import ZeroShotAccuracy, labelled_texts
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

StartTriton = Callable[..., EmbeddedServer]

CALLERS = 16
WORDS = re.findall(
    r"\S+",
    "the a this text example is about sport politics cooking travel money rain music team won lost vote law bread "
    "flight price storm song . , - 1 2 3",
)
LABELS = ["sport", "politics", "cooking", "travel", "money"]
TOKENS = 64


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url, timeout_s=60) as client:
        yield client


def sentences(count: int, longest: int = 30) -> list[str]:
    chance = random.Random(5)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for _ in range(count)]


def many_labels(count: int) -> list[str]:
    pairs = itertools.permutations(WORDS, 2)
    return [" ".join(pair) for pair in itertools.islice(pairs, count)]


def assert_same(one: Classification, other: Classification) -> None:
    assert one.label == other.label
    assert one.scores == pytest.approx(dict(other.scores), abs=1e-5)


def ask_over_http(url: str, model: str, text: str, labels: Sequence[str], **parameters: Any) -> httpx.Response:
    body = {
        "inputs": [
            {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]},
            {"name": "labels", "shape": [1, len(labels)], "datatype": "BYTES", "data": list(labels)},
        ],
        "parameters": parameters,
    }
    return httpx.post(f"http://{url}/v2/models/{model}/infer", json=body, trust_env=False, timeout=60)


def test_the_label_that_fits_comes_first_and_scores_add_up_to_one(client: Client) -> None:
    answer = client.zero_shot("The striker scored twice.", ["cooking", "football", "astronomy"])
    assert answer.label == "football"
    assert answer.score > 0.9
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("other", ["{}", "{}.", "This example is {}.", "This is about {}.", "The topic is {}."])
def test_no_other_template_chooses_better_on_the_texts_it_was_chosen_by(client: Client, other: str) -> None:
    def accuracy(**parameters: str) -> float:
        measure = ZeroShotAccuracy(labelled_texts("choice")).measure
        return measure(lambda tensors: client.infer("zero_shot", inputs=tensors, parameters=parameters))["accuracy"]

    assert accuracy() >= accuracy(hypothesis_template=other)


def test_a_batch_with_200_labels_gives_what_single_texts_give(client: Client) -> None:
    texts, labels = sentences(32), many_labels(200)
    answers = client.zero_shot(texts, labels)
    assert [len(answer.scores) for answer in answers] == [200] * 32
    for index in (0, 17, 31):
        assert_same(answers[index], client.zero_shot(texts[index], labels))


def test_rows_of_a_batch_may_have_labels_of_their_own(client: Client) -> None:
    answer = client.infer(
        "zero_shot",
        text=[["It rained all day."], ["Bake for an hour."]],
        labels=[["weather", "sport"], ["cooking", "law"]],
    )
    assert answer["label"][:, 0].tolist() == ["weather", "cooking"]


def test_labels_in_other_scripts_come_back_as_they_were(client: Client) -> None:
    labels = ["naïve café 🙂", "שלום", "e\u0301toile"]
    assert set(client.zero_shot("🙂 مرحبا", labels).scores) == set(labels)


BAD: dict[str, tuple[Any, str]] = {
    "no labels": (np.empty((1, 0), dtype=object), "labels"),
    "an empty label": ([["a", ""]], r"`labels`\[0\]\[1\] is empty"),
    "a repeated label": ([["a", "b", "a"]], "names 'a' twice"),
    "bytes that are no text": ([[b"a", b"\xff"]], r"`labels`\[0\]\[1\] is not UTF-8"),
    "too many labels": ([[str(number) for number in range(10_000)]], "10000 labels for a text, must be from 1 to 1000"),
}


@pytest.mark.parametrize("case", BAD)
def test_labels_that_cannot_be_answered_are_refused_by_name(client: Client, case: str) -> None:
    labels, said = BAD[case]
    with pytest.raises(InvalidInput, match=said):
        client.infer("zero_shot", text=np.array([["text"]], dtype=object), labels=np.array(labels, dtype=object))


def test_a_text_that_is_not_utf8_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"`text`\[0\] is not UTF-8: byte 1 is 0xfe"):
        client.infer("zero_shot", text=np.array([[b"a\xfe"]], dtype=object), labels=np.array([["a"]], dtype=object))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"hypothesis_template": "no place"}, "`hypothesis_template` is 'no place'"),
        ({"hypothesis_template": "{} or {}"}, "with {} once"),
        ({"multi_label": "perhaps"}, "must be true or false"),
        ({"multi_label": True}, "needs a model of natural-language inference"),
    ],
)
def test_parameters_that_cannot_be_meant_are_a_400_over_http(
    triton: EmbeddedServer, parameters: dict[str, Any], said: str
) -> None:
    answer = ask_over_http(triton.http_url, "zero_shot", "text", ["a", "b"], **parameters)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_bad_requests_among_good_ones_fail_alone(client: Client) -> None:
    texts = sentences(48)
    wanted = [client.zero_shot(text, LABELS) for text in texts]

    def ask(number: int) -> Classification | ConchError:
        try:
            return client.zero_shot(texts[number], ["a", "a"] if number % 3 == 0 else LABELS)
        except ConchError as problem:
            return problem

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(len(texts))))
    for number, (answer, want) in enumerate(zip(answers, wanted, strict=True)):
        if number % 3 == 0:
            assert isinstance(answer, InvalidInput)
        else:
            assert isinstance(answer, Classification)
            assert_same(answer, want)


def save_small_nli_model(folder: Path) -> None:
    """A tiny BERT with random but fixed weights, spread so that labels differ, and a tokenizer of a few words."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    torch.manual_seed(3)
    names = ["contradiction", "neutral", "entailment"]
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=TOKENS,
        initializer_range=0.4,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    BertForSequenceClassification(config).eval().save_pretrained(folder)


def documented_files() -> dict[str, str]:
    """The files that docs/pipelines.md tells a user to add, by path: the first line of each block names it."""
    page = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^# model_repository/(zero_shot_nli\S*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def nli_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nli") / "source"
    save_small_nli_model(folder)
    return folder


@pytest.fixture(scope="module")
def nli(nli_folder: Path, start_triton: StartTriton) -> EmbeddedServer:
    """A server over the documented files and the small model, built and proven by `conch build`'s own code."""
    repository = nli_folder.parent / "repository"
    for name, content in documented_files().items():
        file = repository / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content = re.sub(r"^folder = .*$", f'folder = "{nli_folder}"', content, flags=re.MULTILINE)
        content = re.sub(r"^max_tokens = .*$", f"max_tokens = {TOKENS}", content, flags=re.MULTILINE)
        file.write_text(content, encoding="utf-8")
    said: list[str] = []
    pipelines = load_pipelines(repository)
    settings = Settings(repository=repository, state=nli_folder.parent / "state")
    assert build(settings, pipelines, said.append) == ["zero_shot_nli"]
    assert any("answers of the running ensemble equal the reference" in line for line in said)
    return start_triton(repository, models_of(pipelines))


@pytest.fixture(scope="module")
def classify(nli_folder: Path) -> Any:
    """The reference: transformers' own pipeline over the same files."""
    reference: Any = transformers_pipeline("zero-shot-classification", model=str(nli_folder), device="cpu")
    reference.tokenizer.model_max_length = TOKENS
    return reference


@pytest.fixture
def nli_client(nli: EmbeddedServer) -> Iterator[Client]:
    with Client(nli.grpc_url, timeout_s=60) as client:
        yield client


@pytest.mark.parametrize("labels", [LABELS, LABELS[:1]], ids=["several labels", "one label"])
@pytest.mark.parametrize(
    "parameters",
    [{}, {"multi_label": True}, {"multi_label": False, "hypothesis_template": "a text about {}"}],
    ids=["by default", "multi label", "own template"],
)
def test_inference_answers_as_transformers_does(
    nli_client: Client, classify: Any, labels: list[str], parameters: dict[str, Any]
) -> None:
    texts = ["", *sentences(12), " ".join(sentences(9))]
    answers = nli_client.zero_shot(texts, labels, model="zero_shot_nli", **parameters)
    spread = 0.0
    for text, answer in zip(texts[1:], answers[1:], strict=True):
        want = classify(text, labels, **parameters)
        assert answer.scores == pytest.approx(dict(zip(want["labels"], want["scores"], strict=True)), abs=1e-4)
        spread = max(spread, want["scores"][0] - want["scores"][-1])
    assert spread > 0.05 or len(labels) == 1, "a model that says the same to all labels proves nothing"


def test_a_batch_of_32_with_200_labels_is_answered_like_single_texts(nli_client: Client) -> None:
    texts, labels = sentences(32), many_labels(200)
    answers = nli_client.zero_shot(texts, labels, model="zero_shot_nli")
    assert [len(answer.scores) for answer in answers] == [200] * 32
    assert_same(answers[17], nli_client.zero_shot(texts[17], labels, model="zero_shot_nli"))


def test_more_pairs_than_one_request_may_make_are_refused(nli_client: Client) -> None:
    with pytest.raises(InvalidInput, match="make 9600 rows for the model, the limit is 8192"):
        nli_client.zero_shot(sentences(48), many_labels(200), model="zero_shot_nli")


def test_a_label_that_leaves_no_room_for_a_text_is_refused(nli_client: Client) -> None:
    with pytest.raises(InvalidInput, match=f"has more than {TOKENS - 4} tokens"):
        nli_client.zero_shot("the team won", ["sport", "a " * TOKENS], model="zero_shot_nli")


def test_bad_requests_to_inference_fail_alone_too(nli_client: Client) -> None:
    texts = sentences(48)
    wanted = [nli_client.zero_shot(text, LABELS, model="zero_shot_nli") for text in texts]

    def ask(number: int) -> Classification | None:
        labels = ["a " * TOKENS] if number % 3 == 0 else LABELS
        try:
            return nli_client.zero_shot(texts[number], labels, model="zero_shot_nli")
        except InvalidInput:
            return None

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(len(texts))))
    for number, (answer, want) in enumerate(zip(answers, wanted, strict=True)):
        if number % 3 == 0:
            assert answer is None
        else:
            assert answer is not None
            assert_same(answer, want)
