"""The real server agrees with `conch check`: what the check finds is not loaded, or does not answer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conch_client import Client
from conch_client import ConchError as ClientError
from conch_tools.check import check_repository
from conch_tools.errors import ServerFailed
from conch_tools.server import EmbeddedServer
from conch_tools.server.embedded import ADMIN_HEADER
from conch_tools.settings import Settings

AddModel = Callable[..., Path]
StartTriton = Callable[..., EmbeddedServer]

BACKENDS = Settings().backends
LOAD_LIMIT_S = 60
WARMUP = """
model_warmup {{
  batch_size: {size}
  inputs {{ key: "{key}" value {{ data_type: {type} dims: [ {dims} ] {data} }} }}
}}
"""
ZERO_SHOT = """
backend: "zero_shot"
max_batch_size: 8
input [{ name: "text" data_type: TYPE_STRING dims: 1 }, { name: "labels" data_type: TYPE_STRING dims: -1 }]
output [{ name: "label" data_type: TYPE_STRING dims: -1 }, { name: "score" data_type: TYPE_FP32 dims: -1 }]
instance_group { count: 1 }
parameters { key: "hypothesis_template" value { string_value: "{}" } }
"""
EMBEDDER_CONFIG = """
backend: "python"
max_batch_size: 2
input { name: "text" data_type: TYPE_STRING dims: 1 }
output { name: "embedding" data_type: TYPE_FP32 dims: 2 }
instance_group { count: 1 }
"""
EMBEDDER = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        rows = [len(pb_utils.get_input_tensor_by_name(request, "text").as_numpy()) for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("embedding", np.ones((n, 2), np.float32))]) for n in rows]
"""


def warmup(
    key: str = "logits", type: str = "TYPE_FP32", dims: str = "2", data: str = "zero_data: true", size: int = 1
) -> str:
    return WARMUP.format(key=key, type=type, dims=dims, data=data, size=size)


def codes(repository: Path, model: str) -> list[str]:
    """What the check finds in one model."""
    folder = repository / model
    found = check_repository(repository, BACKENDS)
    return [each.code for each in found if each.file == folder or folder in each.file.parents]


def configured(folder: Path, more: str) -> None:
    config = folder.parent / "config.pbtxt"
    config.write_text(config.read_text() + more)


REFUSED = {
    "tampered": "MAN001",
    "nested": "MAN001",
    "nothing": "STP006",
    "parameter": "STP001",
    "cpu_gpus": "CFG019",
    "warmup_key": "CFG016",
    "warmup_type": "CFG016",
    "warmup_dims": "CFG016",
    "warmup_open": "CFG016",
    "warmup_data": "CFG016",
    "warmup_file": "CFG016",
    "warmup_short": "CFG016",
    "dotted.v5": "BAK002",
}
"""What is refused at load, and the code of what the check finds."""


@pytest.fixture(scope="module")
def refused(add_model: AddModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of models that Triton does not load."""
    folder = tmp_path_factory.mktemp("refused")
    versions = {name: add_model(folder, name) for name in REFUSED}
    (versions["tampered"] / "manifest.json").write_text(json.dumps({"files": {"labels.txt": {"sha256": "0" * 64}}}))
    (versions["nested"] / "manifest.json").write_text("[" * 100_000)
    (versions["nothing"] / "labels.txt").write_text("")
    configured(versions["parameter"], 'parameters { key: "activation" value { string_value: "relu" } }')
    configured(versions["cpu_gpus"], "instance_group { kind: KIND_CPU gpus: [ 0 ] }")
    configured(versions["warmup_key"], warmup(key="logit"))
    configured(versions["warmup_type"], warmup(type="TYPE_INT32"))
    configured(versions["warmup_dims"], warmup(dims="1, 2"))
    configured(versions["warmup_open"], warmup(dims="-1"))
    configured(versions["warmup_data"], warmup(data=""))
    configured(versions["warmup_file"], warmup(data='input_data_file: "x"'))
    configured(versions["warmup_short"], warmup(data='input_data_file: "x"'))
    (folder / "warmup_short" / "warmup").mkdir()
    (folder / "warmup_short" / "warmup" / "x").write_bytes(b"1234")
    dotted = folder / "dotted.v5" / "config.pbtxt"
    dotted.write_text(dotted.read_text().replace('backend: "class_labels"', ""))
    return folder


@pytest.fixture(scope="module")
def server(start_triton: StartTriton, refused: Path, add_model: AddModel) -> EmbeddedServer:
    """A server that has none of them yet. They are loaded one by one, because Triton 2.51 may end with a signal when
    several models fail in their warm-up at once."""
    add_model(refused, "sound")
    return start_triton(refused, models=["sound"])


@pytest.mark.parametrize("model", REFUSED)
def test_what_the_check_finds_is_not_loaded(refused: Path, server: EmbeddedServer, model: str) -> None:
    assert set(codes(refused, model)) == {REFUSED[model]}
    address = f"http://{server.http_url}/v2/repository/models/{model}/load"
    request = urllib.request.Request(address, b"{}", {ADMIN_HEADER: server.admin_key}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(request, timeout=LOAD_LIMIT_S)
    with failed.value as answer:
        assert model in json.load(answer)["error"]


def test_a_warm_up_above_the_largest_batch_is_not_loaded(
    add_model: AddModel, start_triton: StartTriton, tmp_path: Path
) -> None:
    # In a server of its own, which it may end; one that runs already never answers the request to load it.
    configured(add_model(tmp_path, "warmup_size"), warmup(size=9))
    assert codes(tmp_path, "warmup_size") == ["CFG016"]
    with pytest.raises(ServerFailed, match=r"model `warmup_size`: .* batch size 9|SIGSEGV"):
        start_triton(tmp_path)


def test_a_name_that_a_shell_reads_is_not_loaded(
    add_model: AddModel, start_triton: StartTriton, tmp_path: Path
) -> None:
    add_model(tmp_path, "two words")
    assert codes(tmp_path, "two words") == ["FIL008", "FIL009"]
    with pytest.raises(ServerFailed, match="model `two words`"):
        start_triton(tmp_path)


def test_a_profile_that_does_not_parse_is_not_loaded(
    add_model: AddModel, start_triton: StartTriton, tmp_path: Path
) -> None:
    profiles = add_model(tmp_path, "m").parent / "configs"
    profiles.mkdir()
    (profiles / "turbo.pbtxt").write_text("no_such_field: 1")
    assert codes(tmp_path, "m") == ["CFG001"]
    with pytest.raises(ServerFailed, match=r"failed to read text proto from .*/m/configs/turbo\.pbtxt"):
        start_triton(tmp_path, profile="turbo")


@pytest.fixture(scope="module")
def failing(add_model: AddModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of models that load, and answer no request, or not every one."""
    folder = tmp_path_factory.mktemp("failing")
    (add_model(folder, "many_labels") / "labels.txt").write_text("no\nyes\nmaybe\n")
    configured(add_model(folder, "missing_version"), "version_policy { specific { versions: [ 1, 7 ] } }")
    (add_model(folder, "two_at_a_time", backend="python") / "model.py").write_text(EMBEDDER)
    (folder / "two_at_a_time" / "config.pbtxt").write_text(EMBEDDER_CONFIG)
    for name, called in (("no_model", "nowhere"), ("other_tensors", "many_labels"), ("too_many", "two_at_a_time")):
        version = add_model(folder, name)
        parameter = f'parameters {{ key: "embedding" value {{ string_value: "{called}" }} }}'
        (version.parent / "config.pbtxt").write_text(ZERO_SHOT + parameter)
    return folder


@pytest.fixture(scope="module")
def client(start_triton: StartTriton, failing: Path) -> Iterator[Client]:
    """Asks them."""
    with Client(start_triton(failing).grpc_url) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        ("no_model", "STP003", "nowhere"),
        ("other_tensors", "STP004", "many_labels"),
        ("too_many", "STP005", "two_at_a_time"),
    ],
)
def test_a_call_that_the_check_finds_fails(client: Client, failing: Path, model: str, code: str, said: str) -> None:
    assert code in codes(failing, model)
    with pytest.raises(ClientError, match=said):
        client.infer(model, inputs={"text": ["rain"], "labels": [["food", "sport", "weather"]]})


def test_labels_that_the_check_counts_fail_every_request(client: Client, failing: Path) -> None:
    assert codes(failing, "many_labels") == ["STP008"]
    with pytest.raises(ClientError, match="the labels file names 3 classes"):
        client.infer("many_labels", inputs={"logits": [[1.0, 2.0]]})


def test_a_version_that_is_not_there_is_passed_over(client: Client, failing: Path) -> None:
    assert codes(failing, "missing_version") == ["FIL007"]
    assert client.infer("missing_version", inputs={"logits": [[1.0, 2.0]]})["label"].shape == (1, 2)
