"""More pipelines than the memory budget has room for: who was not asked leaves, and comes back when it is asked."""

from __future__ import annotations

import http.client
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from conch_client import Client, ModelNotFound
from conch_tools.bench.callers import Callers
from conch_tools.bench.victims import tritonserver_of
from conch_tools.errors import NotRunning
from conch_tools.ready import ready
from conch_tools.server.memory import memory_of
from conch_tools.server.record import ServerRecord
from conch_tools.server.stubs import Stub, Stubs
from conch_tools.settings import Settings
from small_classifier import ROWS, Trained, make_release

from .conftest import conch_serve

MakeSettings = Callable[..., Settings]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

CALLERS = 8
HOLD_S = 2.0
LOADED_WITHIN_S = 20.0
NAMES = ("apple", "birch", "cedar")
MIB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("budget")


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[str, Trained]:
    """Three pipelines of one size, by name, each with labels of its own."""
    (folder / "repository").mkdir()
    return {
        name: make_release(folder / "repository", name, (f"{name} yes", f"{name} no"), 1.0 + number, 1)
        for number, name in enumerate(NAMES)
    }


@pytest.fixture(scope="module")
def settings(
    folder: Path, trained: dict[str, Trained], make_module_settings: MakeSettings, spawn_conch: SpawnConch
) -> Settings:
    """With room for two and a half of the three."""
    free = make_module_settings(folder, folder / "repository", golden_interval_s=0.5, memory_hold_s=HOLD_S)
    return with_budget(free, lambda stub: stub.model.startswith("cedar"), spawn_conch, folder / "log")


def with_budget(free: Settings, leaves: Callable[[Stub], bool], spawn_conch: SpawnConch, log: Path) -> Settings:
    """With room for all but half of what some processes take, as it is measured here and now."""
    with conch_serve(spawn_conch, free, log) as process:
        await_all_well(free)
        server = tritonserver_of(process.pid)
        assert server is not None
        stubs = Stubs(server.pid)
        stubs.look()
        half = sum(memory_of(stub.pid).bytes for stub in stubs.all if leaves(stub)) / 2
        stubs.close()
        return free.model_copy(update={"memory_budget_mib": round((memory_of(server.pid).bytes - half) / MIB)})


@pytest.fixture(scope="module")
def log(folder: Path) -> Path:
    return folder / "log-within-budget"


@pytest.fixture(scope="module")
def server(settings: Settings, log: Path, spawn_conch: SpawnConch) -> Iterator[Settings]:
    """A `conch serve` within that budget."""
    with conch_serve(spawn_conch, settings, log):
        yield settings


def await_all_well(settings: Settings) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if all(well for _, well in ready(settings, [])):
                return
        except NotRunning:
            pass
        time.sleep(0.1)
    pytest.fail("the server is not ready")


def states(settings: Settings) -> dict[str, str]:
    return dict(line.split(": ", 1) for line, _ in ready(settings, []))


def evicted(settings: Settings) -> list[str]:
    return [name for name, state in states(settings).items() if state == "evicted"]


def asking(trained: dict[str, Trained], name: str) -> Callable[[Client], None]:
    def ask(client: Client) -> None:
        answer = client.infer(name, features=ROWS[0])
        scores = dict(zip(answer["label"].tolist(), answer["score"].tolist(), strict=True))
        assert trained[name].answers(0, scores)

    return ask


def health(settings: Settings, path: str, method: str = "GET") -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", settings.health_port, timeout=60)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def address(settings: Settings) -> str:
    return f"127.0.0.1:{settings.grpc_port}"


def loader(settings: Settings) -> str:
    return f"127.0.0.1:{settings.health_port}"


def test_the_one_that_nobody_asks_leaves_and_comes_back_on_demand_while_another_serves(
    server: Settings,
    trained: dict[str, Trained],
    log: Path,
    run_conch: RunConch,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await_all_well(server)
    with Callers(address(server), [asking(trained, name) for name in ("apple", "birch")], CALLERS) as both:
        wait_until(lambda: evicted(server) == ["cedar"], "cedar leaves", 30)
    assert both.seen.refused == []
    with Callers(address(server), [asking(trained, "apple")], CALLERS) as callers:
        # Long enough for golden requests and repairs, if there were any, and for birch to be idle.
        time.sleep(2 * HOLD_S)
        assert evicted(server) == ["cedar"]
        with Client(address(server)) as plain, pytest.raises(ModelNotFound):
            plain.infer("cedar", features=ROWS[0])
        with (
            caplog.at_level(logging.WARNING, "conch_client"),
            Client(address(server), loader=loader(server), timeout_s=LOADED_WITHIN_S) as client,
        ):
            asking(trained, "cedar")(client)
        assert evicted(server) == ["birch"]
    assert callers.seen.refused == [] and callers.seen.lost == []
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"model `cedar` is not loaded: waiting for {loader(server)}, 20 s at most"
    assert said[1].startswith("model `cedar` is there after ") and len(said) == 2
    shown = run_conch("ready", settings=server)
    assert (shown.returncode, shown.stdout) == (0, "apple: well\nbirch: evicted\ncedar: well\n")
    told = log.read_text()
    assert "loaded anew" not in told and "is not well" not in told and "healing met" not in told


def test_probes_and_prometheus_are_told_who_is_evicted(server: Settings) -> None:
    assert evicted(server) == ["birch"]
    assert health(server, "/ready")[0] == 200
    status, body = health(server, "/ready/birch")
    assert status == 503 and json.loads(body)["evicted"] is True
    figures = health(server, "/metrics")[1]
    assert 'conch_pipeline_evicted{pipeline="birch"} 1.0' in figures
    assert 'conch_evictions_total{pipeline="cedar"} 1.0' in figures
    assert "conch_load_wait_seconds_count 1.0" in figures
    assert 'conch_pipeline_well{pipeline="birch"}' not in figures
    assert "conch_repairs_total{" not in figures
    assert health(server, "/load/oak", "POST")[0] == 404


def test_two_who_demand_the_same_at_once_are_served_by_one_load_and_nobody_waits_beyond_their_time(
    server: Settings, log: Path, wait_until: WaitUntil
) -> None:
    assert evicted(server) == ["birch"]
    wait_until(lambda: health(server, "/load/birch?wait_s=0", "POST")[0] == 503, "no time is no time", 1)
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: health(server, "/load/birch", "POST"), range(2)))
    assert [status for status, _ in both] == [200, 200]
    assert log.read_text().count("pipeline `birch` is back in memory") == 1
    assert states(server)["birch"] == "well"


def test_the_command_brings_back_what_it_asks(
    server: Settings, trained: dict[str, Trained], run_conch: RunConch, wait_until: WaitUntil
) -> None:
    wait_until(lambda: len(evicted(server)) == 1, "one of the three leaves")
    (gone,) = evicted(server)
    done = run_conch("infer", gone, json.dumps(ROWS[0]), settings=server)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["scores"]) == set(trained[gone].labels)
    assert f"model `{gone}` is not loaded: waiting for" in done.stderr


def test_a_new_tritonserver_has_not_loaded_what_was_evicted_and_brings_it_back(
    server: Settings, trained: dict[str, Trained], wait_until: WaitUntil
) -> None:
    wait_until(lambda: len(evicted(server)) == 1, "one of the three leaves")
    (gone,) = evicted(server)
    tritonserver = tritonserver_of(ServerRecord.require(server).pid)
    assert tritonserver is not None
    tritonserver.kill()
    wait_until(lambda: health(server, "/ready")[0] == 503, "the end of the server is noticed")
    wait_until(lambda: health(server, "/ready")[0] == 200, "there is a new one", 60)
    assert evicted(server) == [gone]
    with Client(address(server), loader=loader(server)) as client:
        asking(trained, gone)(client)


def test_a_pipeline_that_never_fits_is_told_so(
    settings: Settings, folder: Path, spawn_conch: SpawnConch, make_module_settings: MakeSettings, wait_until: WaitUntil
) -> None:
    small = make_module_settings(
        folder / "small", settings.repository, golden_interval_s=0.2, memory_hold_s=0.2, memory_budget_mib=1
    )
    with conch_serve(spawn_conch, small, folder / "log-small", "--only", "apple"):
        await_all_well(small)
        wait_until(lambda: evicted(small) == ["apple"], "it leaves")
        status, body = health(small, "/load/apple", "POST")
        assert status == 507 and "MiB more than the memory budget of 1 MiB" in json.loads(body)["error"]
        assert evicted(small) == ["apple"] and health(small, "/ready")[0] == 200
