"""A build that is ended at any moment, politely or not: what was served before is served on, nothing is left behind,
and the next build needs nobody's help.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import helper, numpy_helper

from conch_client import Client
from conch_tools.build.run import build
from conch_tools.build.staging import fingerprint_of, is_current
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import load_pipeline, load_pipelines, models_of
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
StartConch = Callable[..., "subprocess.Popen[str]"]
StartTriton = Callable[..., EmbeddedServer]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
WaitUntil = Callable[..., None]

LIMIT_S = 60.0
STOP_LIMIT_S = 5.0
GENTLE = (signal.SIGINT, signal.SIGTERM)


def save_classifier(file: Path) -> None:
    """Of four numbers, in two operators: it is built in a moment, so that a build can be ended many times."""
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["sums"]), helper.make_node("Softmax", ["sums"], ["scores"])],
        "classifier",
        [helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, make_module_settings: MakeSettings) -> Path:
    """A folder with the repository of a pipeline that was built."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "repository").mkdir()
    save_classifier(folder / "model.onnx")
    settings = make_module_settings(folder, folder / "repository")
    told = {"task": "tabular-classification", "source": str(folder / "model.onnx")}
    new_pipeline(settings, answers("irises", told, None))
    build(settings, load_pipelines(settings.repository), print)
    return folder


@pytest.fixture
def settings(checkout: Path, tmp_path: Path, make_settings: MakeSettings) -> Settings:
    """Of a copy."""
    shutil.copytree(checkout / "repository", tmp_path / "repository")
    shutil.copy(checkout / "model.onnx", tmp_path)
    return make_settings(tmp_path / "repository")


def children(command: psutil.Process) -> list[psutil.Process]:
    return list(command.children(recursive=True))


def is_running(command: psutil.Process, words: str) -> bool:
    """Whether a process that the command started has these words in its command line."""
    for each in children(command):
        try:
            if words in " ".join(each.cmdline()):
                return True
        except psutil.Error:
            continue
    return False


MOMENTS: dict[str, Callable[[psutil.Process, Settings], bool]] = {
    "the workers begin": lambda command, settings: is_running(command, "spawn_main"),
    "a model is staged": lambda command, settings: (settings.state / "staging/irises_model/1/model.onnx").exists(),
    "the server begins": lambda command, settings: is_running(command, "tritonserver"),
    "its steps begin": lambda command, settings: is_running(command, "triton_python_backend_stub"),
    "it was proven": lambda command, settings: (settings.state / "staging/irises/1/manifest.json").exists(),
}


def ended(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, list[psutil.Process]]:
    """The exit code of a command that gets a signal, if it was not quicker, and the processes that it leaves behind."""
    if process.poll() is not None:
        return process.returncode, []
    begun = children(psutil.Process(process.pid))
    process.send_signal(how)
    code = process.wait(LIMIT_S)
    return code, psutil.wait_procs(begun, STOP_LIMIT_S)[1]


def still_running(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def left_behind(owner: int) -> list[Path]:
    """Folders and shared memory that a process made."""
    return [path for place in (tempfile.gettempdir(), "/dev/shm") for path in Path(place).glob(f"conch-{owner}-*")]


@pytest.mark.parametrize("signals", [GENTLE, [signal.SIGKILL]], ids=["asked to end", "killed"])
def test_a_build_that_is_ended_at_any_moment_leaves_what_is_served_and_the_next_one_works(
    settings: Settings,
    start_conch: StartConch,
    run_conch: RunConch,
    start_triton: StartTriton,
    wait_until: WaitUntil,
    signals: Sequence[signal.Signals],
) -> None:
    pipeline = load_pipeline(settings.repository / "irises")
    left: list[psutil.Process] = []
    for (moment, has_come), how in zip(MOMENTS.items(), itertools.cycle(signals), strict=False):
        process = start_conch("build", "--force", settings=settings)
        command = psutil.Process(process.pid)
        wait_until(lambda: has_come(command, settings) or process.poll() is not None, moment, LIMIT_S)  # noqa: B023
        code, processes = ended(process, how)
        # A step of Triton's that was just starting waits for ever for a server that was killed.
        left += processes
        if how in GENTLE:
            assert not still_running(processes)
            assert code in (128 + how, 0)
            assert not (settings.state / "staging").exists()
            assert not left_behind(process.pid)
        assert is_current(pipeline, fingerprint_of(pipeline)), moment
    done = run_conch("build", "--force", settings=settings)
    assert done.returncode == 0, done.stderr
    assert not still_running(left), "what a killed one left is swept by the next"
    assert not (settings.state / "staging").exists()
    hidden = list(settings.repository.rglob(".*"))
    assert hidden == []
    assert is_current(pipeline, fingerprint_of(pipeline))
    server = start_triton(settings.repository, models_of([pipeline]))
    with Client(server.grpc_url) as client:
        row = {f"feature_{index}": 1.0 for index in range(4)}
        assert sum(client.score(row, "irises").scores.values()) == pytest.approx(1.0)
