"""Requests are what tritonclient would send for the samples, the texts, or a file's lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.bench.corpus import CORPUS_SIZE
from conch_tools.errors import CorpusError, SettingsError
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.settings import Settings
from conch_tools.tune.traffic import requests_of, wire

CONFIG = """
name: "pipe" max_batch_size: 8
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] }, { name: "history" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


def pipeline(name: str) -> Pipeline:
    [found] = load_pipelines(Settings().repository, [name])
    return found


def config(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def test_a_pipeline_of_texts_gets_mixed_lengths() -> None:
    requests, said = requests_of(
        pipeline("embed"), config('input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }'), None
    )
    assert len({len(each["text"]) for each in requests}) > 100
    assert said == f"{CORPUS_SIZE} texts of mixed lengths"


def test_any_other_pipeline_gets_its_samples() -> None:
    digits = pipeline("digits")
    requests, said = requests_of(digits, config('input { name: "image" data_type: TYPE_STRING dims: [ 1 ] }'), None)
    assert requests == [digits.sample_inputs(digits.samples[0])]
    assert said == "its sample"


def test_a_file_names_a_request_a_line(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"text": "one"}\n\n{"text": "two"}\n')
    requests, said = requests_of(pipeline("sentiment"), config(CONFIG), file)
    assert [each["text"].tolist() for each in requests] == [[b"one"], [b"two"]]
    assert str(file) in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no inputs"),
        ("\n \n", "holds no inputs"),
        ('{"text": "a"}\n\nno', "jsonl:3: this is no JSON"),
        ('["a"]', "jsonl:1: this is no JSON object"),
        ("[" * 100_000, "jsonl:1: this is no JSON"),
        ('{"text": "a\u2028b\u0085c"}\n{"txt": "a"}', "jsonl:2: there is no `text`"),
        ('{"text": 5}', "jsonl:1: `text` is 5, not a text"),
    ],
)
def test_a_file_without_requests_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(content)
    with pytest.raises(CorpusError, match=said):
        requests_of(pipeline("sentiment"), config(CONFIG), file)


@pytest.mark.parametrize("horizon", ["5000000000", "1.5"])
def test_a_number_that_the_tensor_cannot_hold_is_refused(tmp_path: Path, horizon: str) -> None:
    forecast = pipeline("forecast")
    values = {**forecast.sample_inputs(forecast.samples[0]), "horizon": json.loads(horizon)}
    file = tmp_path / "requests.jsonl"
    file.write_text(json.dumps(values))
    with pytest.raises(CorpusError, match="jsonl:1: `horizon` is"):
        requests_of(forecast, config(CONFIG), file)


def test_what_a_file_names_is_sent_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "requests.txt"
    file.write_text("a b\n", encoding="utf-8")
    [request], _ = requests_of(pipeline("sentiment"), config(CONFIG), file)
    assert wire(request, config(CONFIG), "127.0.0.1") == wire({"text": "a b"}, config(CONFIG), "127.0.0.1")


def test_a_request_is_one_row_with_binary_tensors() -> None:
    head, body = wire({"text": "a", "history": [1, 2, 3]}, config(CONFIG), "127.0.0.1").split(b"\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'"shape":[1,1]' in body
    assert b'"shape":[1,3]' in body
    assert body.endswith(b"\x00\x00\x80?\x00\x00\x00@\x00\x00@@")


def test_bytes_travel_as_they_are() -> None:
    png = b"\x89PNG\r\n\x1a\n\x00\x00"
    assert wire({"text": png}, config(CONFIG), "127.0.0.1").endswith(png)


@pytest.mark.parametrize(
    ("inputs", "said"), [({"txt": "a"}, "has no input `txt`"), ({"history": ["a"]}, "`history` is FP32")]
)
def test_what_the_pipeline_does_not_take_is_refused(inputs: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        wire(inputs, config(CONFIG), "127.0.0.1")
