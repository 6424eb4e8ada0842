"""What dies in a server is noticed and brought back, while everything else keeps serving."""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from conch_client import Client
from conch_tools.bench.callers import Callers, Seen
from conch_tools.bench.victims import Victim, ask_pipeline, processes_of, tritonserver_of, victims
from conch_tools.pipelines import load_pipelines
from conch_tools.server.embedded import ADMIN_HEADER
from conch_tools.server.record import ServerRecord, key_path
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

LOOPING = """
import pathlib

import numpy as np
import triton_python_backend_utils as pb_utils

LOOP = pathlib.Path(__file__).parent / "loop"


class TritonPythonModel:
    def execute(self, requests):
        if LOOP.exists():
            LOOP.unlink()
            while True:
                pass
        return [self.answer(pb_utils.get_input_tensor_by_name(request, "logits").as_numpy()) for request in requests]

    def answer(self, logits):
        labels = logits.argmax(axis=1, keepdims=True).astype(str).astype(np.object_)
        scores = logits.max(axis=1, keepdims=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor("label", labels), pb_utils.Tensor("score", scores)])
"""
"""A step that goes into an endless loop once, when a file says so."""
VICTIMS = victims(Settings())
"""A step of every kind that the repository uses."""
SERVED = sorted({victim.pipeline.name for victim in VICTIMS})
CALLERS = 32
CALM_S = 0.5
HEALED_WITHIN_S = 60.0
"""On a machine that runs other tests as well; docs/heal.md says how long it takes on a quiet one."""
NEW_SERVER_WITHIN_S = 120.0
ABANDONED_LOCK = "terminate called after throwing an instance of 'boost::interprocess::lock_exception'"
"""The last words of a tritonserver that locks what a dead process had locked."""
TRIES = 4


@dataclass
class Held:
    """A `conch serve` with its settings and its log."""

    process: subprocess.Popen[str]
    settings: Settings
    log: Path

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.settings.grpc_port}"

    @property
    def server(self) -> psutil.Process:
        server = tritonserver_of(self.process.pid)
        assert server is not None
        return server

    def server_pid(self) -> int | None:
        server = tritonserver_of(self.process.pid)
        return None if server is None else int(server.pid)

    def repairs(self, model: str) -> int:
        """How often the log says that a model was loaded anew."""
        return len(re.findall(rf"model `{model}` \([a-z ]+\): loaded anew in", self.log.read_text()))

    def told(self, line: str) -> int:
        """How often the log says so."""
        return self.log.read_text().count(line)

    def stubs(self, model: str) -> list[psutil.Process]:
        """The living processes of a model, oldest first."""
        return list(processes_of(self.server, model))

    def control(self, path: str, body: dict[str, Any]) -> int:
        key = {ADMIN_HEADER: key_path(self.settings).read_text()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.settings.http_port, timeout=60)) as connection:
            connection.request("POST", path, json.dumps(body), key)
            return connection.getresponse().status

    def health(self, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.settings.health_port, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def is_ready(self) -> bool:
        with suppress(OSError):
            return self.health("/ready")[0] == 200
        return False


@contextmanager
def serving(settings: Settings, log: Path, pipelines: list[str], spawn: SpawnConch) -> Iterator[Held]:
    """A `conch serve` over these pipelines that answers its golden requests; it must end cleanly."""
    held = Held(spawn("serve", *(f"--only={name}" for name in pipelines), settings=settings, log=log), settings, log)
    try:
        deadline = time.monotonic() + settings.start_timeout_s
        while ServerRecord.read(settings) is None or not held.is_ready():
            assert held.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield held
    finally:
        held.process.send_signal(signal.SIGTERM)
        assert held.process.wait(10) == 0


@pytest.fixture(scope="module")
def held(
    tmp_path_factory: pytest.TempPathFactory, make_module_settings: MakeSettings, spawn_conch: SpawnConch
) -> Iterator[Held]:
    """A server of all pipelines that have a victim."""
    folder = tmp_path_factory.mktemp("healing")
    settings = make_module_settings(
        folder, Settings().repository, golden_interval_s=1.0, golden_timeout_s=5.0, start_timeout_s=180.0
    )
    with serving(settings, folder / "log", SERVED, spawn_conch) as held:
        yield held


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("victim", VICTIMS, ids=[victim.backend for victim in VICTIMS])
def test_every_kind_of_step_that_dies_or_hangs_under_load_comes_back(
    held: Held, wait_until: WaitUntil, victim: Victim, how: signal.Signals
) -> None:
    for _ in range(TRIES):
        if not took_the_server_along(held, wait_until, victim, how):
            return
    pytest.fail(f"tritonserver ended at each of {TRIES} deaths")


def took_the_server_along(held: Held, wait_until: WaitUntil, victim: Victim, how: signal.Signals) -> bool:
    """Let a process die, or stop, under load, and be served again. A process that is killed with a lock of the memory
    in hand that it shares with tritonserver ends that as well, which is seen at one death in thirty; then all is
    asserted but how many were refused."""
    wait_until(held.is_ready, "everything is well before", NEW_SERVER_WITHIN_S)
    server, process, repairs = held.server_pid(), held.stubs(victim.model)[-1], held.repairs(victim.model)
    abandoned = held.told(ABANDONED_LOCK)
    with Callers(held.grpc, [victim.ask()], CALLERS) as callers:
        time.sleep(CALM_S)
        process.send_signal(how)
        died = time.monotonic()
        wait_until(
            lambda: held.repairs(victim.model) > repairs or held.told(ABANDONED_LOCK) > abandoned,
            "the step has new processes",
            HEALED_WITHIN_S,
        )
        repaired = time.monotonic()
        wait_until(lambda: is_full(callers.seen, repaired), "every caller is answered again", HEALED_WITHIN_S)
    assert callers.seen.lost == []
    wait_until(held.is_ready, "everything is well again", HEALED_WITHIN_S)
    if how is signal.SIGKILL and held.told(ABANDONED_LOCK) > abandoned:
        return True
    assert held.server_pid() == server
    # Triton refuses a request that waits at a dead process after a second, so nobody is refused more often than that.
    before = [each for each in callers.seen.refused if each.ended < repaired]
    assert len(before) <= (1 + math.ceil(repaired - died)) * CALLERS
    # Afterwards it refuses the two batches that it had formed ahead, and those of its ensembles.
    assert len(callers.seen.refused) - len(before) <= 2 * CALLERS
    return False


def is_full(seen: Seen, since: float) -> bool:
    return seen.full_service(since) is not None


def test_a_step_can_die_again_and_again(held: Held, wait_until: WaitUntil) -> None:
    for _ in range(3):
        repairs = held.repairs("digits_labels")
        held.stubs("digits_labels")[-1].kill()
        wait_until(lambda before=repairs: held.repairs("digits_labels") > before, "the step is there again")
        wait_until(held.is_ready, "everything is well again")


def test_a_process_that_dies_while_its_model_is_loaded_is_replaced(held: Held, wait_until: WaitUntil) -> None:
    repairs, server = held.repairs("digits_labels"), held.server_pid()
    (old,) = held.stubs("digits_labels")
    old.kill()
    wait_until(lambda: any(stub != old for stub in held.stubs("digits_labels")), "the model is being loaded")
    for stub in held.stubs("digits_labels"):
        stub.kill()
    # If Triton waits for the dead process for ever, a new server is what helps.
    wait_until(
        lambda: held.repairs("digits_labels") > repairs or held.server_pid() not in (None, server),
        "there is a new process",
        NEW_SERVER_WITHIN_S,
    )
    wait_until(held.is_ready, "everything is well again", NEW_SERVER_WITHIN_S)


def test_an_ensemble_that_was_unloaded_is_loaded_again(held: Held, wait_until: WaitUntil) -> None:
    loaded, lost = (
        "model `digits` (not loaded): loaded anew",
        "pipeline `digits` is not well: Request for unknown model",
    )
    before = {line: held.told(line) for line in (loaded, lost)}
    assert held.control("/v2/repository/models/digits/unload", {}) == 200
    wait_until(lambda: held.told(loaded) > before[loaded], "the loss is noticed")
    wait_until(held.is_ready, "everything is well again")
    assert held.told(lost) > before[lost]


def test_a_step_loaded_with_other_tensors_is_taken_back_with_the_ensemble_that_it_cost(
    held: Held, wait_until: WaitUntil
) -> None:
    with Client(held.grpc) as client:
        config, repairs, before = client.config("digits_decode"), held.repairs("digits"), held.server.pid
        config["output"][0]["dims"] = [1, 8, 8]
        load = {"parameters": {"config": json.dumps(config)}}
        assert held.control("/v2/repository/models/digits_decode/load", load) == 200
        assert not client.model_ready("digits"), "Triton has unloaded the ensemble in silence"
        wait_until(lambda: held.repairs("digits") > repairs, "the ensemble is loaded again", HEALED_WITHIN_S)
        wait_until(held.is_ready, "everything is well again", HEALED_WITHIN_S)
        assert client.config("digits_decode")["output"][0]["dims"] == [1, 16, 16]
    assert held.server.pid == before, "without a new server"


def test_wrong_answers_after_a_load_are_noticed_and_taken_back(held: Held, wait_until: WaitUntil) -> None:
    with Client(held.grpc) as client:
        config = client.config("digits_labels")
    swapped = base64.b64encode(b"".join(b"%d\n" % digit for digit in reversed(range(10)))).decode()
    # Triton passes over a configuration that it has, whatever files come with it.
    config.setdefault("parameters", {})["whose"] = {"string_value": "somebody else's"}
    files = {"config": json.dumps(config), "file:1/labels.txt": swapped}
    wrong = "`label` is 2, pipeline.toml expects 7"
    before = held.told(wrong)
    assert held.control("/v2/repository/models/digits_labels/load", {"parameters": files}) == 200
    wait_until(lambda: held.told(wrong) > before, "the wrong answer is noticed")
    wait_until(held.is_ready, "everything is well again")


def test_readiness_is_told_to_people_and_to_probes(held: Held, run_conch: RunConch, wait_until: WaitUntil) -> None:
    wait_until(held.is_ready, "everything is well")
    done = run_conch("ready", settings=held.settings)
    served = [each.name for each in load_pipelines(Settings().repository, SERVED)]
    assert (done.returncode, done.stdout.split("\n")) == (0, [*(f"{name}: well" for name in served), ""])
    assert run_conch("ready", "digits", settings=held.settings).stdout == "digits: well\n"
    unknown = run_conch("ready", "digitz", settings=held.settings)
    assert (unknown.returncode, unknown.stderr.strip()) == (
        2,
        f"conch: the server does not serve `digitz`, but {', '.join(served)}",
    )
    assert held.health("/live")[0] == 200
    assert held.health("/ready/digitz")[0] == held.health("/etc/passwd")[0] == 404
    metrics = held.health("/metrics")[1]
    assert 'conch_pipeline_well{pipeline="digits"} 1.0' in metrics
    assert 'conch_golden_requests_total{outcome="well",pipeline="embed"}' in metrics


def test_a_killed_server_of_two_pipelines_is_replaced_and_a_stop_after_deaths_leaves_nothing(
    tmp_path: Path, make_settings: MakeSettings, spawn_conch: SpawnConch, wait_until: WaitUntil
) -> None:
    settings = make_settings(Settings().repository, start_timeout_s=120.0)
    pipelines = load_pipelines(settings.repository, ["digits", "embed"])
    with serving(settings, tmp_path / "log", [each.name for each in pipelines], spawn_conch) as held:
        before = held.server_pid()
        with Callers(held.grpc, [ask_pipeline(each) for each in pipelines], CALLERS) as callers:
            time.sleep(CALM_S)
            held.server.kill()
            wait_until(lambda: held.server_pid() not in (None, before), "there is a new server", NEW_SERVER_WITHIN_S)
            replaced = time.monotonic()
            wait_until(lambda: is_full(callers.seen, replaced), "every caller is answered again", HEALED_WITHIN_S)
        assert callers.seen.lost == []
        wait_until(held.is_ready, "both pipelines are well again", HEALED_WITHIN_S)
        assert held.control("/v2/repository/index", {}) == 200, "the admin key is the same"
        family = psutil.Process(held.process.pid).children(recursive=True)
        # One is dead, one hangs, and nobody has the time to heal them.
        held.stubs("embed_model")[-1].suspend()
        held.stubs("digits_labels")[-1].kill()
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    for port in (settings.http_port, settings.grpc_port, settings.metrics_port, settings.health_port):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
    assert not list(Path("/dev/shm").glob(f"conch-{held.process.pid}-*"))


def test_a_step_in_an_endless_loop_is_loaded_anew_and_no_other(
    tmp_path: Path, make_settings: MakeSettings, spawn_conch: SpawnConch, wait_until: WaitUntil
) -> None:
    for model in ("digits", "digits_decode", "digits_model", "digits_labels"):
        shutil.copytree(Settings().repository / model, tmp_path / "repository" / model)
    config = tmp_path / "repository" / "digits_labels" / "config.pbtxt"
    config.write_text(config.read_text().replace('"class_labels"', '"python"'))
    version = config.parent / "1"
    (version / "model.py").write_text(LOOPING)
    settings = make_settings(
        tmp_path / "repository", golden_interval_s=0.5, golden_timeout_s=1.0, busy_limit_s=5.0, start_timeout_s=120.0
    )
    with serving(settings, tmp_path / "log", ["digits"], spawn_conch) as held:
        (version / "loop").touch()
        wait_until(lambda: held.repairs("digits_labels") > 0, "the step that loops is loaded anew", HEALED_WITHIN_S)
        wait_until(held.is_ready, "everything is well again", HEALED_WITHIN_S)
        assert held.repairs("digits_decode") == held.repairs("digits_model") == 0
