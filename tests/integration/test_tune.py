"""`conch tune` with the real server, on a pipeline whose better settings are certain: its step sleeps, so two processes
do twice as much however busy the machine is. How many are tried follows the machine's cores.
"""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from rich.console import Console

from conch_client import Client
from conch_tools.check import check_repository
from conch_tools.check.findings import Severity
from conch_tools.errors import SettingsError
from conch_tools.healing.control import Control
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.settings import Settings
from conch_tools.tune.errors import ProfileTaken
from conch_tools.tune.grid import Grid, bench_grid
from conch_tools.tune.outcome import Outcome
from conch_tools.tune.run import TuneOptions, tune
from conch_tools.tune.versus import TARGET, bench_tune

MakeSettings = Callable[..., Settings]
StartConch = Callable[..., "Popen[str]"]
WaitUntil = Callable[..., None]

STEP_S = 0.03
QUICK_MINUTES = 0.4
CALLERS = 4
CORES = len(os.sched_getaffinity(0))
several_cores = pytest.mark.skipif(CORES == 1, reason="on one core a second instance is not tried")
TOUCHED = "touched_by_nap"
"""What the step leaves in the state of its server."""
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input [ { name: "number" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "same" data_type: TYPE_FP32 dims: [ 1 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "nap_step"
      model_version: -1
      input_map { key: "number" value: "number" }
      output_map { key: "same" value: "same" }
    }
  ]
}
"""
STEP = """
# It sleeps.
backend: "python"
max_batch_size: 8
input [ { name: "number" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "same" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
MODEL = f"""
import os
import pathlib
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        if args["model_instance_name"].endswith(REFUSED):
            raise ValueError("a second one does not fit")
        (pathlib.Path(os.environ["CONCH_STATE"]) / "{TOUCHED}").touch()

    def execute(self, requests):
        time.sleep({STEP_S} * len(requests))
        inputs = [pb_utils.get_input_tensor_by_name(request, "number").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("same", each)]) for each in inputs]
"""
PIPELINE = """
task = "tabular-classification"
description = "The same number, after a nap."

[source]
training = "nap"

[[samples]]
input = { number = 7.0 }
expect = { same = 7.0 }
"""


def nap(folder: Path, refused: str = "never") -> Path:
    """A repository with the pipeline `nap`; an instance whose name ends so does not load."""
    for model, config in (("nap", ENSEMBLE), ("nap_step", STEP)):
        (folder / model / "1").mkdir(parents=True)
        (folder / model / "config.pbtxt").write_text(config)
    (folder / "nap" / "pipeline.toml").write_text(PIPELINE)
    (folder / "nap_step" / "1" / "model.py").write_text(f"REFUSED = {refused!r}\n{MODEL}")
    return folder


def quick(**values: object) -> TuneOptions:
    options: dict[str, object] = {"pipeline": "nap", "profile": "tuned", "concurrency": CALLERS}
    return TuneOptions(**{**options, "minutes": QUICK_MINUTES, **values})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nap(tmp_path_factory.mktemp("tuned") / "repository")


@pytest.fixture(scope="module")
def settings(
    make_module_settings: MakeSettings, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> Settings:
    return make_module_settings(tmp_path_factory.mktemp("tune"), repository)


@pytest.fixture(scope="module")
def outcome(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, str, Path]:
    """A tuning, what it printed, and the folder with its JSON and its plot."""
    screen, folder = io.StringIO(), tmp_path_factory.mktemp("figures")
    found = tune(settings, quick(), Console(file=screen, width=100), folder / "tune.json", folder / "tune.svg")
    return found, screen.getvalue(), folder


@several_cores
def test_the_better_settings_are_found_and_explained(outcome: tuple[Outcome, str, Path]) -> None:
    found, screen, folder = outcome
    instances = found.after.step("nap_step").instances
    assert instances > 1
    assert found.gain > 1.2
    assert "nap_step holds up the others" in screen
    assert "conch serve --profile tuned" in screen
    written = json.loads((folder / "tune.json").read_text())
    assert written["after"]["settings"]["steps"][0]["instances"] == instances
    assert {point["concurrency"] for point in written["curves"]["after"]} == {1, CALLERS}
    assert "</svg>" in (folder / "tune.svg").read_text()


def test_a_running_servers_state_is_left_alone(outcome: tuple[Outcome, str, Path], settings: Settings) -> None:
    assert not list(settings.state.rglob(TOUCHED))


@several_cores
def test_the_profile_passes_the_check_and_is_served(
    outcome: tuple[Outcome, str, Path], settings: Settings, repository: Path
) -> None:
    assert [str(file.relative_to(repository)) for file in repository.glob("*/configs/*")] == [
        "nap_step/configs/tuned.pbtxt"
    ]
    findings = check_repository(repository, settings.backends, profiles=["tuned"])
    assert not [each for each in findings if each.severity is Severity.ERROR and "configs" in each.file.parts]
    served = settings.model_copy(update={"profile": "tuned"})
    with EmbeddedServer(ServerOptions(served, models=["nap", "nap_step"])) as server:
        config = Control(server.http_url, server.admin_key).config("nap_step")
        assert [group["count"] for group in config["instance_group"]] == [outcome[0].after.step("nap_step").instances]
        with Client(server.grpc_url) as client:
            assert client.infer("nap", inputs={"number": 7.0})["same"].tolist() == [7.0]


@several_cores
def test_the_choice_is_held_against_every_point(
    outcome: tuple[Outcome, str, Path], settings: Settings, tmp_path: Path
) -> None:
    file, screen = tmp_path / "grid.json", io.StringIO()
    grid = bench_grid(settings, "nap", CALLERS, 0.5, file, Console(file=screen, width=100))
    counts = sorted(point.step("nap_step").instances for point in grid.points)
    assert (counts[0], counts[-1]) == (1, CORES)
    again = io.StringIO()
    assert bench_grid(settings, "nap", CALLERS, 0.5, file, Console(file=again, width=100)).points == grid.points
    assert f"{len(counts)} points, 0 of them not measured yet" in again.getvalue()
    assert Grid.load(file, "nap").best_first[0].step("nap_step").instances > 1
    ratio = bench_tune(
        settings, "nap", "tuned", file, 1, 1.0, Console(file=screen, width=100), tmp_path / "versus.json"
    )
    assert ratio > TARGET / 2
    assert json.loads((tmp_path / "versus.json").read_text())["ratio"] == ratio


@several_cores
def test_settings_that_do_not_load_are_rejected_in_tritons_words(make_settings: MakeSettings, tmp_path: Path) -> None:
    repository, screen = nap(tmp_path / "repository", refused="_1"), io.StringIO()
    found = tune(make_settings(repository), quick(minutes=0.2), Console(file=screen, width=300))
    assert not found.changed
    assert "a second one does not fit" in screen.getvalue()
    assert not list(repository.glob("*/configs"))


def test_a_profile_of_a_persons_own_is_refused_before_anything_is_measured(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    repository = nap(tmp_path / "repository")
    (repository / "nap_step" / "configs").mkdir()
    (repository / "nap_step" / "configs" / "tuned.pbtxt").write_text(STEP)
    with pytest.raises(ProfileTaken, match="--force"):
        tune(make_settings(repository), quick(), Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"concurrency": 0}, "--concurrency"),
        ({"minutes": 0.0}, "--minutes"),
        ({"minutes": float("nan")}, "--minutes"),
        ({"minutes": float("inf")}, "--minutes"),
        ({"latency_limit_ms": -1.0}, "--latency-limit-ms"),
        ({"generator": "wrk"}, "--generator"),
    ],
)
def test_options_that_measure_nothing_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        quick(**values)


def test_an_interrupt_shows_the_best_so_far_and_writes_nothing(
    start_conch: StartConch, make_settings: MakeSettings, wait_until: WaitUntil, tmp_path: Path
) -> None:
    repository, log = nap(tmp_path / "repository"), tmp_path / "conch.log"
    process = start_conch("tune", "nap", "--minutes", "5", "--concurrency", "2", settings=make_settings(repository))
    wait_until(lambda: "requests/s at concurrency 2" in log.read_text(), "the first turn is over", 60.0)
    process.send_signal(signal.SIGINT)
    assert process.wait(20.0) == 128 + signal.SIGINT
    assert "the best so far: nap_step: " in log.read_text()
    assert "Traceback" not in log.read_text()
    assert not list(repository.glob("*/configs"))
