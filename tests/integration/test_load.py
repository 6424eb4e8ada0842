"""`conch load`: a sound change is served without a lost request, an unsound one changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conch_client import Client
from conch_tools.bench.callers import Callers
from conch_tools.bench.victims import ask_pipeline, processes_of, tritonserver_of
from conch_tools.errors import NotRunning, WrongAnswers
from conch_tools.healing import load as module
from conch_tools.healing.control import Control
from conch_tools.healing.load import AnotherLoad
from conch_tools.locks import only_one
from conch_tools.pipelines import load_pipeline
from conch_tools.server.record import ServerRecord, key_path, load_lock_path
from conch_tools.settings import Settings

from .conftest import conch_serve

AddModel = Callable[..., Path]
MakeSettings = Callable[..., Settings]
StartConch = Callable[..., "subprocess.Popen[str]"]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

CALLERS = 8


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, make_module_settings: MakeSettings, spawn_conch: SpawnConch
) -> Iterator[Settings]:
    """A `conch serve` over a copy of digits whose files may be changed: no manifest says what they must be."""
    folder = tmp_path_factory.mktemp("load")
    for model in ("digits", "digits_decode", "digits_model", "digits_labels"):
        shutil.copytree(Settings().repository / model, folder / "repository" / model)
    for manifest in (folder / "repository").glob("*/1/manifest.json"):
        manifest.unlink()
    settings = make_module_settings(folder, folder / "repository", golden_interval_s=1.0)
    with conch_serve(spawn_conch, settings, folder / "log"):
        yield settings


@pytest.fixture
def served(server: Settings, run_conch: RunConch, wait_until: WaitUntil) -> Iterator[Settings]:
    """That server, well; its files are as they were after the test."""
    wait_until(lambda: run_conch("ready", settings=server).returncode == 0, "digits is well", 60)
    before = {file: file.read_bytes() for file in (labels(server), config(server, "digits_labels"))}
    yield server
    for file, content in before.items():
        file.write_bytes(content)


def labels(settings: Settings) -> Path:
    return settings.repository / "digits_labels" / "1" / "labels.txt"


def config(settings: Settings, model: str) -> Path:
    return settings.repository / model / "config.pbtxt"


def best_label(settings: Settings) -> str:
    pipeline = load_pipeline(settings.repository / "digits")
    with Client(f"127.0.0.1:{settings.grpc_port}") as client:
        answer = client.infer("digits", inputs=pipeline.sample_inputs(pipeline.samples[0]))
    return str(answer["label"][0])


def test_a_sound_change_is_served_and_no_request_fails_meanwhile(served: Settings, run_conch: RunConch) -> None:
    pipeline = load_pipeline(served.repository / "digits")
    config(served, "digits_labels").write_text(
        config(served, "digits_labels")
        .read_text()
        .replace("dynamic_batching {}", "dynamic_batching { max_queue_delay_microseconds: 100 }")
    )
    with Callers(f"127.0.0.1:{served.grpc_port}", [ask_pipeline(pipeline)], CALLERS) as callers:
        done = run_conch("load", "digits_labels", settings=served)
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [
            "conch: trying digits_labels in a server of its own",
            "conch: loaded digits_labels; digits answer as they must",
        ],
    )
    assert callers.seen.refused == [] and callers.seen.sent > CALLERS
    with Client(f"127.0.0.1:{served.grpc_port}") as client:
        assert client.config("digits_labels")["dynamic_batching"]["max_queue_delay_microseconds"] == 100


def test_what_conch_check_finds_is_refused(served: Settings, run_conch: RunConch) -> None:
    config(served, "digits_labels").write_text(
        config(served, "digits_labels").read_text().replace("dims: [ 10 ]", "dims: [ 11 ]")
    )
    done = run_conch("load", "digits_labels", settings=served)
    assert done.returncode == 5
    assert "`logits` is [11] in `digits_labels`" in done.stderr
    assert "conch: not loaded: the server serves what it served before" in done.stderr
    assert "the repository keeps the changed files. The next start" in done.stderr
    assert best_label(served) == "7"


def test_what_answers_wrongly_is_refused_before_it_is_loaded(served: Settings, run_conch: RunConch) -> None:
    labels(served).write_text("".join(f"{digit}\n" for digit in reversed(range(10))))
    done = run_conch("load", "digits", settings=served)
    assert done.returncode == 9
    assert "`digits` does not answer as it must: `label` is 2, pipeline.toml expects 7" in done.stderr
    assert best_label(served) == "7"


def test_what_goes_wrong_in_the_running_server_alone_is_taken_back(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "require_sound", lambda *_: None)
    wrong = Control(f"127.0.0.1:{served.http_port}", key_path(served).read_text()).config("digits_labels")
    wrong["input"][0]["dims"] = [11]
    monkeypatch.setattr(module, "_tried", lambda *_: {"digits_labels": wrong})
    with pytest.raises(WrongAnswers, match="Triton unloads the ensemble `digits`"):
        module.load(served, ["digits_labels"], lambda _: None)
    assert best_label(served) == "7"


def test_renamed_labels_are_served_with_the_pipeline_that_expects_them_and_stay(
    served: Settings, run_conch: RunConch, wait_until: WaitUntil
) -> None:
    # A model that was repaired has a configuration that Triton may take for the repository's.
    log = Path(served.state).parent / "log"
    repairs = log.read_text().count("loaded anew")
    record = ServerRecord.require(served)
    server = tritonserver_of(record.pid)
    assert server is not None
    processes_of(server, "digits_labels")[-1].kill()
    wait_until(lambda: log.read_text().count("loaded anew") > repairs, "digits_labels is loaded anew", 30)
    wait_until(lambda: run_conch("ready", settings=served).returncode == 0, "digits is well", 60)

    pipeline = served.repository / "digits" / "pipeline.toml"
    names, expectation = labels(served).read_text(), pipeline.read_text()
    repairs = log.read_text().count("loaded anew")
    try:
        labels(served).write_text("".join(f"digit {number}\n" for number in range(10)))
        pipeline.write_text(expectation.replace('label = "', 'label = "digit '))
        assert run_conch("load", "digits_labels", settings=served).returncode == 0
        assert best_label(served) == "digit 7"
        asked = golden_requests(record)
        wait_until(lambda: golden_requests(record) > asked + 2, "the healer asks the pipeline as it is now", 60)
        assert best_label(served) == "digit 7"
    finally:
        labels(served).write_text(names)
        pipeline.write_text(expectation)
        assert run_conch("load", "digits_labels", settings=served).returncode == 0
    assert log.read_text().count("loaded anew") == repairs, "the healer undid nothing"
    assert best_label(served) == "7"


def golden_requests(record: ServerRecord) -> int:
    """How many were well so far."""
    with urllib.request.urlopen(f"http://{record.health}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    found = re.search(r'conch_golden_requests_total\{outcome="well",pipeline="digits"\} (\d+)', metrics)
    return int(found[1]) if found else 0


def test_a_second_load_waits_for_the_first_and_names_it(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.1)
    with only_one(load_lock_path(served), 0, lambda: None), pytest.raises(AnotherLoad, match=rf"process {os.getpid()}"):
        module.load(served, ["digits"], lambda _: None)


def test_a_name_that_is_not_served_is_told(served: Settings, run_conch: RunConch) -> None:
    done = run_conch("load", "digitz", settings=served)
    assert (done.returncode, done.stderr) == (
        2,
        "conch: the server does not serve `digitz`: start it again with what is new\n",
    )


def test_without_a_server_there_is_nothing_to_load_into(make_settings: MakeSettings) -> None:
    with pytest.raises(NotRunning):
        module.load(make_settings(Settings().repository), ["digits"], lambda _: None)


def test_a_model_of_a_repository_without_pipelines_is_loaded_as_well(
    tmp_path: Path, add_model: AddModel, make_settings: MakeSettings, start_conch: StartConch, wait_until: WaitUntil
) -> None:
    version = add_model(tmp_path / "repository", "mood")
    settings = make_settings(tmp_path / "repository")
    start_conch("serve", settings=settings)
    wait_until(lambda: ServerRecord.read(settings) is not None, "the server runs", 60)
    (version / "labels.txt").write_text("sad\nglad\n")
    said: list[str] = []
    module.load(settings, ["mood"], said.append)
    assert said == ["trying mood in a server of its own", "loaded mood"]
    with Client(f"127.0.0.1:{settings.grpc_port}") as client:
        assert client.infer("mood", logits=[[0.0, 1.0]])["label"].tolist() == [["glad", "sad"]]
