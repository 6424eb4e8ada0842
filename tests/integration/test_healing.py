"""What dies in a server is noticed and brought back, while everything else keeps serving."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from conch_client import Client, ConchError, ServerUnavailable
from conch_tools.pipelines import Pipeline, load_pipelines, models_of
from conch_tools.server.embedded import ADMIN_HEADER
from conch_tools.server.record import ServerRecord, key_path
from conch_tools.settings import Settings

RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

PIPELINES = {each.name: each for each in load_pipelines(Settings().repository)}
KINDS = ["digits_decode", "digits_model", "digits_labels", "embed_tokenize", "embed_model", "search_index"]
"""A model of each kind of step: of Python alone, with instances, one that others call, one that calls others."""
CALLERS = 32
HEALED_WITHIN_S = 30.0
"""On a machine that runs other tests as well; docs/measure.md says how long it takes on a quiet one."""
RETRY_PAUSE_S = 0.05


@dataclass
class Held:
    """A `conch serve` with its settings and its log."""

    process: subprocess.Popen[bytes]
    settings: Settings
    log: Path

    @property
    def server(self) -> psutil.Process:
        return next(each for each in psutil.Process(self.process.pid).children() if each.name() == "tritonserver")

    def server_pid(self) -> int | None:
        try:
            return int(self.server.pid)
        except (StopIteration, psutil.Error):
            return None

    def repairs(self, model: str) -> int:
        """How often the log says that a model was loaded anew."""
        return len(re.findall(rf"model `{model}` \([a-z ]+\): loaded anew in", self.log.read_text()))

    def stubs(self, model: str) -> list[psutil.Process]:
        """The living processes of a model, oldest first."""
        found = []
        for process in self.server.children():
            with suppress(psutil.Error):
                if any(f"/{model}/" in word for word in process.cmdline()):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

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
        return self.health("/ready")[0] == 200


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, make_module_settings: Callable[..., Settings]) -> Iterator[Held]:
    """A `conch serve` over digits, embed and search."""
    folder = tmp_path_factory.mktemp("healing")
    settings = make_module_settings(folder, Settings().repository, golden_interval_s=1.0, golden_timeout_s=5.0)
    own = settings.model_dump(exclude_defaults=True)
    environment = {**os.environ, **{f"CONCH_{name.upper()}": str(value) for name, value in own.items()}}
    command = [sys.executable, "-m", "conch_tools", "serve", "--only=digits", "--only=search"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    held = Held(process, settings, folder / "log")
    try:
        deadline = time.monotonic() + settings.start_timeout_s
        while ServerRecord.read(settings) is None or not _answers(held):
            assert process.poll() is None and time.monotonic() < deadline, held.log.read_text()
            time.sleep(0.1)
        yield held
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def _answers(held: Held) -> bool:
    try:
        return held.is_ready()
    except OSError:
        return False


@dataclass
class Load:
    """Callers that ask without a pause, and ask again what may be asked again."""

    address: str
    pipeline: Pipeline
    answered: int = 0
    refused: list[float] = field(default_factory=list)
    """When a request failed that may be tried again."""
    failed: list[str] = field(default_factory=list)
    """Requests that failed for good."""

    def __enter__(self) -> Load:
        self._ending = threading.Event()
        self._callers = [threading.Thread(target=self._ask) for _ in range(CALLERS)]
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for caller in self._callers:
            caller.join(60)

    def _ask(self) -> None:
        inputs = self.pipeline.sample_inputs(self.pipeline.samples[0])
        with Client(self.address, timeout_s=30) as client:
            while not self._ending.is_set():
                try:
                    client.infer(self.pipeline.name, inputs=inputs)
                    self.answered += 1
                except ServerUnavailable:
                    self.refused.append(time.monotonic())
                    self._ending.wait(RETRY_PAUSE_S)
                except ConchError as problem:
                    self.failed.append(str(problem))


def pipeline_of(model: str) -> Pipeline:
    return next(each for each in PIPELINES.values() if model in models_of([each]))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("model", KINDS)
def test_a_step_that_dies_or_hangs_under_load_comes_back(
    held: Held, wait_until: WaitUntil, model: str, how: signal.Signals
) -> None:
    wait_until(held.is_ready, "everything is well before")
    victim, repairs = held.stubs(model)[-1], held.repairs(model)
    with Load(f"127.0.0.1:{held.settings.grpc_port}", pipeline_of(model)) as load:
        time.sleep(1)
        began = time.monotonic()
        victim.send_signal(how)
        wait_until(lambda: held.repairs(model) > repairs, "the step has new processes", HEALED_WITHIN_S)
        wait_until(held.is_ready, "everything is well again", HEALED_WITHIN_S)
        answered = load.answered
        # What waited at the dead process is told of its death a batch after the other, a second or two each.
        wait_until(lambda: load.answered > answered + CALLERS, "the callers are answered again", HEALED_WITHIN_S)
    assert load.failed == []
    # Triton tells callers of a stopped process after a second; whether it goes on is given two seconds more.
    assert len(load.refused) <= (2 if how is signal.SIGKILL else 4) * CALLERS
    assert all(moment - began < HEALED_WITHIN_S for moment in load.refused)


def test_a_step_can_die_again_and_again(held: Held, wait_until: WaitUntil) -> None:
    for _ in range(3):
        repairs = held.repairs("digits_labels")
        held.stubs("digits_labels")[-1].kill()
        wait_until(lambda before=repairs: held.repairs("digits_labels") > before, "the step is there again")
        wait_until(held.is_ready, "everything is well again")


def test_a_process_that_dies_while_its_model_is_loaded_costs_a_new_server(held: Held, wait_until: WaitUntil) -> None:
    before = held.server.pid
    (old,) = held.stubs("digits_labels")
    old.kill()
    wait_until(lambda: any(stub != old for stub in held.stubs("digits_labels")), "the model is being loaded")
    for stub in held.stubs("digits_labels"):
        stub.kill()
    wait_until(lambda: held.server_pid() not in (None, before), "there is a new server", HEALED_WITHIN_S)
    wait_until(held.is_ready, "everything is well again", HEALED_WITHIN_S)


def test_an_ensemble_that_was_unloaded_in_silence_is_loaded_again(held: Held, wait_until: WaitUntil) -> None:
    assert held.control("/v2/repository/models/digits/unload", {}) == 200
    wait_until(lambda: "model `digits` (not loaded): loaded anew" in held.log.read_text(), "the loss is noticed")
    wait_until(held.is_ready, "everything is well again")
    assert "pipeline `digits` is not well: Request for unknown model" in held.log.read_text()


def test_wrong_answers_after_a_load_are_noticed_and_taken_back(held: Held, wait_until: WaitUntil) -> None:
    with Client(f"127.0.0.1:{held.settings.grpc_port}") as client:
        config = client.config("digits_labels")
    swapped = base64.b64encode(b"".join(b"%d\n" % digit for digit in reversed(range(10)))).decode()
    files = {"config": json.dumps(config), "file:1/labels.txt": swapped}
    assert held.control("/v2/repository/models/digits_labels/load", {"parameters": files}) == 200
    wait_until(lambda: "`label` is 2, pipeline.toml expects 7" in held.log.read_text(), "the wrong answer is noticed")
    wait_until(held.is_ready, "everything is well again")


def test_a_server_that_is_killed_is_replaced(held: Held, wait_until: WaitUntil) -> None:
    before = held.server.pid
    held.server.kill()
    wait_until(lambda: held.server_pid() not in (None, before), "there is a new server", HEALED_WITHIN_S)
    wait_until(held.is_ready, "everything is well again", HEALED_WITHIN_S)
    assert held.control("/v2/repository/index", {}) == 200, "the admin key is the same"


def test_readiness_is_told_to_people_and_to_probes(held: Held, run_conch: RunConch, wait_until: WaitUntil) -> None:
    wait_until(held.is_ready, "everything is well")
    done = run_conch("ready", settings=held.settings)
    assert (done.returncode, done.stdout) == (0, "digits: well\nembed: well\nsearch: well\n")
    assert run_conch("ready", "digits", settings=held.settings).stdout == "digits: well\n"
    unknown = run_conch("ready", "qa", settings=held.settings)
    assert (unknown.returncode, unknown.stderr.strip()) == (
        2,
        "conch: the server does not serve `qa`, but digits, embed, search",
    )
    assert held.health("/live")[0] == 200
    assert held.health("/ready/qa")[0] == held.health("/etc/passwd")[0] == 404
    metrics = held.health("/metrics")[1]
    assert 'conch_pipeline_well{pipeline="digits"} 1.0' in metrics
    assert 'conch_golden_requests_total{outcome="well",pipeline="embed"}' in metrics
