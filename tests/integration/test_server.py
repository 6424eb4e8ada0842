"""What a running server opens, and to whom; and that servers run beside each other."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from conch_tools.server import EmbeddedServer
from conch_tools.server.embedded import ADMIN_HEADER

AddModel = Callable[..., Path]
StartTriton = Callable[..., EmbeddedServer]


def best_label(server: EmbeddedServer, model: str) -> str:
    logits = InferInput("logits", [1, 2], "FP32")
    logits.set_data_from_numpy(np.array([[0, 1]], np.float32))
    with InferenceServerClient(server.grpc_url) as client:
        return str(client.infer(model, [logits]).as_numpy("label")[0, 0].decode())


def over_http(
    server: EmbeddedServer, method: str, path: str, body: Any = None, key: str | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.http_url, timeout=10)
    headers = {} if key is None else {ADMIN_HEADER: key}
    connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


ADMIN_ENDPOINTS = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/digits/unload"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("GET", "/v2/trace/setting"),
    ("GET", "/v2/logging"),
]


@pytest.mark.parametrize("key", [None, "", "wrong"])
@pytest.mark.parametrize(("method", "path"), ADMIN_ENDPOINTS)
def test_administration_over_http_is_refused_without_the_key(
    triton: EmbeddedServer, method: str, path: str, key: str | None
) -> None:
    status, text = over_http(triton, method, path, key=key)
    assert status == 403 and "restricted" in text


@pytest.mark.parametrize(("method", "path"), [each for each in ADMIN_ENDPOINTS if "unload" not in each[1]])
def test_administration_over_http_works_with_the_key(triton: EmbeddedServer, method: str, path: str) -> None:
    assert over_http(triton, method, path, key=triton.admin_key)[0] == 200


ADMIN_CALLS: list[Callable[[InferenceServerClient, dict[str, str]], object]] = [
    lambda client, headers: client.get_model_repository_index(headers=headers),
    lambda client, headers: client.unload_model("digits", headers=headers),
    lambda client, headers: client.get_system_shared_memory_status(headers=headers),
    lambda client, headers: client.get_trace_settings(headers=headers),
    lambda client, headers: client.get_log_settings(headers=headers),
]


@pytest.mark.parametrize("call", ADMIN_CALLS)
def test_administration_over_grpc_is_refused_without_the_key(
    triton: EmbeddedServer, call: Callable[[InferenceServerClient, dict[str, str]], object]
) -> None:
    with InferenceServerClient(triton.grpc_url) as client:
        for headers in ({}, {f"triton-grpc-protocol-{ADMIN_HEADER}": "wrong"}):
            with pytest.raises(InferenceServerException, match="restricted"):
                call(client, headers)


def test_administration_over_grpc_works_with_the_key(triton: EmbeddedServer) -> None:
    headers = {f"triton-grpc-protocol-{ADMIN_HEADER}": triton.admin_key}
    with InferenceServerClient(triton.grpc_url) as client:
        index = client.get_model_repository_index(headers=headers, as_json=True)
    assert {"name": "digits", "version": "1", "state": "READY"} in index["models"]


def test_the_server_listens_on_this_machine_only(triton: EmbeddedServer) -> None:
    sockets = psutil.Process(triton.pid).net_connections()
    listening = [each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_response_cache_is_on_and_models_are_loaded_on_demand_only(triton: EmbeddedServer) -> None:
    arguments = psutil.Process(triton.pid).cmdline()
    assert "--cache-config=local,size=67108864" in arguments
    assert "--model-control-mode=explicit" in arguments


def test_metrics_count_inferences(triton: EmbeddedServer) -> None:
    connection = http.client.HTTPConnection(triton.metrics_url.split("/")[2], timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert 'nv_inference_request_success{model="digits",version="1"}' in text


@pytest.fixture(scope="module")
def small(add_model: AddModel, start_triton: StartTriton, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedServer:
    """A server beside the other one, whose repository has a name that no shell likes; it was told to load `first`."""
    repository = tmp_path_factory.mktemp("small") / "a repository (with) [brackets] & 'quotes' $HOME"
    for name in ("first", "second"):
        add_model(repository, name)
    return start_triton(repository, models=["first"])


def test_a_repository_may_have_any_path(small: EmbeddedServer) -> None:
    assert best_label(small, "first") == "yes"


def test_two_servers_run_side_by_side(small: EmbeddedServer, triton: EmbeddedServer) -> None:
    for server in (small, triton):
        assert over_http(server, "GET", "/v2/health/ready")[0] == 200
    assert small.admin_key != triton.admin_key
    assert over_http(small, "POST", "/v2/repository/index", key=triton.admin_key)[0] == 403


def test_models_are_loaded_and_unloaded_with_the_key(small: EmbeddedServer) -> None:
    with pytest.raises(InferenceServerException, match="unknown model"):
        best_label(small, "second")
    assert over_http(small, "POST", "/v2/repository/models/second/load", key=small.admin_key)[0] == 200
    assert best_label(small, "second") == "yes"
    assert over_http(small, "POST", "/v2/repository/models/second/unload", key=small.admin_key)[0] == 200
    assert over_http(small, "POST", "/v2/repository/models/../../etc/load", key=small.admin_key)[0] == 404
