"""Releases of a pipeline side by side in a running server: loaded, switched, pinned and taken out under load."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from conch_client import Client, ModelNotFound
from conch_tools.bench.callers import Callers
from conch_tools.bench.victims import tritonserver_of
from conch_tools.errors import NotRunning
from conch_tools.healing.control import Control
from conch_tools.ready import ready
from conch_tools.server.ports import free_ports
from conch_tools.server.record import ServerRecord, key_path
from conch_tools.settings import Settings
from small_classifier import ROWS, Trained, make_release

from .conftest import conch_serve

MakeSettings = Callable[..., Settings]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

CALLERS = 16
ONE, TWO = ("cat", "dog"), ("red", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("versions")


@pytest.fixture(scope="module")
def one(folder: Path) -> Trained:
    """What the first release answers."""
    (folder / "repository").mkdir()
    return make_release(folder / "repository", "mood", ONE, 1.0, 1)


@pytest.fixture(scope="module")
def server(
    folder: Path, one: Trained, make_module_settings: MakeSettings, spawn_conch: SpawnConch
) -> Iterator[Settings]:
    """A `conch serve` over the first release."""
    settings = make_module_settings(folder, folder / "repository", golden_interval_s=0.5)
    with conch_serve(spawn_conch, settings, folder / "log"):
        yield settings


class Answers:
    """Takes down which release answered what, and that no answer is made of two."""

    def __init__(self, releases: Mapping[str, Trained]) -> None:
        self._releases = releases
        self.seen: list[str] = []

    def asking(self, name: str, version: str = "") -> Callable[[Client], None]:
        def ask(client: Client) -> None:
            for row, values in enumerate(ROWS):
                answer = client.infer(name, version, features=values)
                scores = dict(zip(answer["label"].tolist(), answer["score"].tolist(), strict=True))
                told = [each for each, of in self._releases.items() if of.answers(row, scores)]
                # Appending to a list is atomic.
                self.seen.append(told[0] if len(told) == 1 else f"neither: {scores}")

        return ask


def conch(run_conch: RunConch, settings: Settings, *arguments: str) -> list[str]:
    done = run_conch(*arguments, settings=settings)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("conch: ") for line in done.stderr.splitlines()]


def is_well(settings: Settings) -> bool:
    try:
        return all(well for _, well in ready(settings, []))
    except NotRunning:
        return False


@pytest.fixture(scope="module")
def two(server: Settings, one: Trained) -> Trained:
    """What the second release answers, which is made while the first is served."""
    deadline = time.monotonic() + 60
    while not is_well(server):
        assert time.monotonic() < deadline, "mood is not well"
        time.sleep(0.1)
    return make_release(server.repository, "mood", TWO, 9.0, 2)


def test_releases_are_switched_under_load_and_no_request_fails_or_meets_both(
    server: Settings, one: Trained, two: Trained, run_conch: RunConch, wait_until: WaitUntil
) -> None:
    answers, pinned = Answers({"1": one, "2": two}), Answers({"1": one, "2": two})
    asks = [answers.asking("mood"), answers.asking("mood"), answers.asking("mood"), pinned.asking("mood", "1")]

    def answered(count: int) -> int:
        """Wait for so many more answers; where in `seen` those are that were asked for from now on."""
        since = len(answers.seen) + CALLERS * len(ROWS)
        wait_until(lambda: len(answers.seen) > since + count, "callers are answered")
        return since

    with Callers(f"127.0.0.1:{server.grpc_port}", asks, CALLERS) as callers:
        assert set(answers.seen[answered(100) :]) == {"1"}
        said = conch(run_conch, server, "load", "mood")
        assert set(answers.seen[answered(100) :]) == {"2"}
        back = conch(run_conch, server, "load", "mood", "--version", "1")
        assert set(answers.seen[answered(100) :]) == {"1"}
        conch(run_conch, server, "load", "mood", "--version", "latest")
        assert set(answers.seen[answered(100) :]) == {"2"}
    assert callers.seen.refused == []
    assert set(answers.seen) == {"1", "2"}, Counter(answers.seen)
    assert set(pinned.seen) == {"1"}, Counter(pinned.seen)
    assert said[-1] == "mood is release 2"
    assert "mood_model" in said[0] and len(back) == 2 and back[-1] == "mood is release 1"


def test_a_release_is_asked_by_its_number_and_one_that_is_not_there_is_told(
    server: Settings, one: Trained, two: Trained, run_conch: RunConch
) -> None:
    with Client(f"127.0.0.1:{server.grpc_port}") as client:
        for version, trained in ((1, one), (2, two)):
            answer = client.infer("mood", version, features=ROWS[0])
            assert (answer.version, set(answer["label"])) == (str(version), set(trained.labels))
        with pytest.raises(ModelNotFound, match="there is no version 3 of mood, but 1, 2"):
            client.infer("mood", 3, features=ROWS[0])
    done = run_conch("infer", "mood", json.dumps(ROWS[0]), "--version", "1", settings=server)
    assert set(json.loads(done.stdout)["scores"]) == set(ONE)


def test_releases_are_listed_with_what_they_are_served_as(server: Settings, two: Trained, run_conch: RunConch) -> None:
    first, second = json.loads(run_conch("versions", "mood", "--json", settings=server).stdout)
    assert (first["version"], first["latest"], first["served_as"]) == (1, False, ["mood-v1"])
    assert (second["version"], second["latest"], second["served_as"]) == (2, True, ["mood", "mood-v2"])
    assert second["quality"] == {"accuracy": 1.0} and second["bytes"] > 1000 and "sha256" in second["source"]


def test_a_release_is_taken_out_under_load_and_comes_back(
    server: Settings, one: Trained, two: Trained, run_conch: RunConch, wait_until: WaitUntil
) -> None:
    answers = Answers({"2": two})
    with Callers(
        f"127.0.0.1:{server.grpc_port}", [answers.asking("mood"), answers.asking("mood", "2")], CALLERS
    ) as callers:
        assert conch(run_conch, server, "unload", "mood", "--version", "1") == ["unloaded mood-v1"]
    assert callers.seen.refused == [] and set(answers.seen) == {"2"}
    control = Control(f"127.0.0.1:{server.http_port}", key_path(server).read_text())
    assert control.ready_versions("mood_model") == [2]
    with (
        Client(f"127.0.0.1:{server.grpc_port}") as client,
        pytest.raises(ModelNotFound, match="there is no version 1 of mood, but 2"),
    ):
        client.infer("mood", 1, features=ROWS[0])
    wait_until(lambda: "mood-v1" not in run_conch("ready", settings=server).stdout, "nobody asks for it any more")
    conch(run_conch, server, "load", "mood")
    assert control.ready_versions("mood_model") == [1, 2]
    wait_until(lambda: "mood-v1: well" in run_conch("ready", settings=server).stdout, "it is well")


def test_a_server_that_is_replaced_serves_the_release_that_was_pinned(
    server: Settings, one: Trained, two: Trained, run_conch: RunConch, wait_until: WaitUntil
) -> None:
    conch(run_conch, server, "load", "mood", "--version", "1")
    tritonserver = tritonserver_of(ServerRecord.require(server).pid)
    assert tritonserver is not None
    tritonserver.kill()
    wait_until(lambda: not is_well(server), "the end of the server is noticed")
    wait_until(lambda: is_well(server), "there is a new one", 60)
    with Client(f"127.0.0.1:{server.grpc_port}") as client:
        answer = client.infer("mood", features=ROWS[0])
        assert (answer.version, set(answer["label"])) == ("1", set(one.labels))
        assert set(client.infer("mood", 2, features=ROWS[0])["label"]) == set(two.labels)
    conch(run_conch, server, "load", "mood", "--version", "latest")


def test_what_cannot_be_taken_out_or_pinned_is_told(server: Settings, two: Trained, run_conch: RunConch) -> None:
    done = run_conch("unload", "mood", "--version", "2", settings=server)
    assert (done.returncode, done.stderr) == (
        2,
        "conch: `mood` is release 2 now: `conch load mood --version` another one first\n",
    )
    done = run_conch("load", "mood", "--version", "7", settings=server)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1] == "conch: `mood` has no release 7, there is 1, 2"


def test_a_file_that_is_not_what_was_built_is_refused_before_it_is_tried(
    server: Settings, two: Trained, run_conch: RunConch
) -> None:
    labels = server.repository / "mood_labels" / "2" / "labels.txt"
    before = labels.read_text()
    try:
        labels.write_text("".join(reversed(before.splitlines(keepends=True))))
        done = run_conch("load", "mood", settings=server)
    finally:
        labels.write_text(before)
    assert done.returncode == 5 and f"{labels} is not the file that was built" in done.stderr
    assert "trying" not in done.stderr


def test_unsigned_releases_are_refused_by_serve_load_and_verify_where_signatures_are_required(
    server: Settings, two: Trained, run_conch: RunConch, tmp_path: Path
) -> None:
    strict = server.model_copy(update={"require_signatures": True, "signature_keys": tmp_path / "key.pub"})
    beside = make_free(strict, tmp_path)
    assert run_conch("sign", "--new-key", str(tmp_path / "key"), settings=server).returncode == 0
    refused = "conch: `mood` is refused, because signatures are required: release 1 has no signature"
    for settings, command in ((beside, ["serve"]), (strict, ["load", "mood"]), (strict, ["verify"])):
        done = run_conch(*command, settings=settings)
        assert done.returncode == 5 and done.stderr.splitlines()[-1].startswith(refused), done.stderr
    said = run_conch("sign", str(tmp_path / "key"), settings=server)
    assert said.stderr.splitlines() == ["conch: signed mood 1", "conch: signed mood 2"]
    assert run_conch("verify", settings=strict).returncode == 0
    assert run_conch("load", "mood", "--version", "latest", settings=strict).returncode == 0


def make_free(settings: Settings, folder: Path) -> Settings:
    """The same for a server of its own."""
    http, grpc, metrics, health = free_ports(4)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "health_port": health}
    return settings.model_copy(update={**ports, "state": folder / "state"})


def test_a_whole_pipeline_is_taken_out_and_comes_back(
    server: Settings, two: Trained, run_conch: RunConch, wait_until: WaitUntil
) -> None:
    conch(run_conch, server, "unload", "mood")
    control = Control(f"127.0.0.1:{server.http_port}", key_path(server).read_text())
    assert control.ready_models() == []
    wait_until(lambda: run_conch("ready", settings=server).stdout == "", "nothing is asked")
    conch(run_conch, server, "load", "mood")
    wait_until(lambda: run_conch("ready", settings=server).stdout.count(": well") == 3, "all is well")
