"""What a server does not start with, and what is said of it: one line with the file or the port, and the cure."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conch_tools.errors import AlreadyRunning, PortTaken, RepositoryError, ServerFailed, SettingsError
from conch_tools.serve import serving
from conch_tools.server import EmbeddedServer
from conch_tools.server.record import ServerRecord
from conch_tools.settings import Settings

AddModel = Callable[..., Path]
MakeSettings = Callable[..., Settings]
StartConch = Callable[..., "subprocess.Popen[str]"]
WaitUntil = Callable[..., None]
StartTriton = Callable[..., EmbeddedServer]

BACKENDS = Settings().backends


def add_backend(folder: Path, name: str, model_py: str) -> Path:
    """A backend of one's own in a folder that also has the project's; returns its model.py."""
    folder.mkdir(exist_ok=True)
    for ours in ("conch_steps", "class_labels"):
        if not (folder / ours).exists():
            (folder / ours).symlink_to(BACKENDS / ours)
    (folder / name).mkdir()
    file = folder / name / "model.py"
    file.write_text(model_py)
    return file


def test_a_taken_port_is_named_with_its_owner_and_its_setting(
    triton: EmbeddedServer, start_triton: StartTriton, tmp_path: Path
) -> None:
    taken = triton.options.settings.grpc_port
    with pytest.raises(PortTaken) as refused:
        start_triton(tmp_path, grpc_port=taken)
    assert str(refused.value) == (
        f"port {taken} (Triton gRPC) is taken by process {triton.pid} (tritonserver): "
        "stop that process, or set CONCH_GRPC_PORT to a free port"
    )


def test_two_services_cannot_share_a_port(start_triton: StartTriton, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CONCH_HTTP_PORT and CONCH_METRICS_PORT are both 18765: give each"):
        start_triton(tmp_path, http_port=18765, metrics_port=18765)


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid", "::1"])
def test_an_address_that_is_not_ours_is_a_setting_to_correct(
    start_triton: StartTriton, tmp_path: Path, host: str
) -> None:
    with pytest.raises(SettingsError, match=f"CONCH_HOST='{host}' is no IPv4 address of this machine"):
        start_triton(tmp_path, host=host)


def test_of_two_servers_that_start_at_once_on_the_same_ports_one_is_refused(
    add_model: AddModel, make_settings: MakeSettings, start_conch: StartConch, wait_until: WaitUntil, tmp_path: Path
) -> None:
    add_model(tmp_path / "repository", "m")
    settings = make_settings(tmp_path / "repository")
    both = [start_conch("serve", settings=settings) for _ in range(2)]
    wait_until(lambda: any(each.poll() is not None for each in both), "one of them ends", timeout_s=60)
    wait_until(lambda: ServerRecord.read(settings) is not None, "the other one is ready")
    (loser,) = (each for each in both if each.poll() is not None)
    (winner,) = (each for each in both if each is not loser)
    assert loser.returncode in (PortTaken.exit_code, AlreadyRunning.exit_code)
    record = ServerRecord.read(settings)
    assert record is not None and record.pid == winner.pid


REFUSALS = {
    "syntax": r"SyntaxError: .* \(in {file}, line 2: mend the code there\)$",
    "imports": r"ModuleNotFoundError: No module named 'no_such_module' \(at {file}, line 1: mend the code there\)$",
    "hollow": r"AttributeError: .*'TritonPythonModel' \(in {file}: mend the code there\)$",
    "raises": r"ValueError: first line second line \(at {file}, line 3: mend the code there\)$",
    "missing": r"{version}/labels.txt is missing: run `conch build`$",
    "tampered": r"{version}/labels.txt is not the file that was built, .*: build it again with `conch build`$",
    "nowhere": r"unable to find backend library for backend 'nowhere'",
}
BROKEN_BACKENDS = {
    "syntax": "\ndef broken(:\n",
    "imports": "import no_such_module\n",
    "hollow": "x = 1\n",
    "raises": """\
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError("first line\\nsecond line")
""",
}


@pytest.fixture(scope="module")
def broken(add_model: AddModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository of models that cannot be loaded, and the backends of some of them."""
    folder = tmp_path_factory.mktemp("broken")
    for name, model_py in BROKEN_BACKENDS.items():
        add_backend(folder / "backends", name, model_py)
        add_model(folder / "repository", name, backend=name)
    (add_model(folder / "repository", "missing") / "labels.txt").unlink()
    tampered = add_model(folder / "repository", "tampered")
    (tampered / "manifest.json").write_text(json.dumps({"files": {"labels.txt": {"sha256": "0" * 64}}}))
    add_model(folder / "repository", "nowhere", backend="nowhere")
    return folder


@pytest.fixture(scope="module")
def refusals(start_triton: StartTriton, broken: Path) -> list[str]:
    """The lines of what is said when the broken repository is to be served."""
    with pytest.raises(ServerFailed) as refused:
        start_triton(broken / "repository", backends=broken / "backends")
    return str(refused.value).splitlines()


@pytest.mark.parametrize("model", REFUSALS)
def test_a_model_that_does_not_load_is_one_line_with_file_and_cure(
    refusals: list[str], broken: Path, model: str
) -> None:
    (line,) = (line for line in refusals if line.startswith(f"model `{model}`: "))
    expected = REFUSALS[model].format(
        file=broken / "backends" / model / "model.py", version=broken / "repository" / model / "1"
    )
    assert re.search(expected, line), line


def test_refusals_are_said_once_and_without_stack_traces(refusals: list[str]) -> None:
    assert refusals[0] == "tritonserver refused the repository:"
    assert len(refusals) == 1 + len(REFUSALS)
    assert not any("Traceback" in line or "At:" in line or "/tmp/conch-" in line for line in refusals)


def test_a_step_that_dies_while_it_loads_is_noticed(
    add_model: AddModel, start_triton: StartTriton, tmp_path: Path
) -> None:
    file = add_model(tmp_path, "m", backend="python") / "model.py"
    file.write_text("import os\nos._exit(3)\n")
    began = time.monotonic()
    with pytest.raises(ServerFailed) as failed:
        start_triton(tmp_path)
    assert str(failed.value).startswith(f"a Python process died while it was loading model `m` ({file})")
    assert time.monotonic() - began < 20


def test_a_step_killed_before_it_lives_is_told_at_once_whatever_else_still_loads(
    slow_repository: Path,
    add_model: AddModel,
    make_settings: MakeSettings,
    start_conch: StartConch,
    wait_until: WaitUntil,
    tmp_path: Path,
) -> None:
    file = add_model(slow_repository, "m", backend="python") / "model.py"
    shutil.copy(slow_repository / "sleeper" / "1" / "model.py", file)
    process = start_conch("serve", settings=make_settings(slow_repository))

    def stub() -> psutil.Process | None:
        family = psutil.process_iter(["cmdline", "name"])
        of_m = (each for each in family if any(part.endswith("/m/1/model.py") for part in each.info["cmdline"] or ()))
        return next((each for each in of_m if process.pid in [parent.pid for parent in each.parents()]), None)

    wait_until(stub, "the process of `m` is there")
    victim = stub()
    assert victim is not None
    victim.kill()
    assert process.wait(20) == ServerFailed.exit_code
    said = (tmp_path / "conch.log").read_text().splitlines()[-1]
    assert said.startswith("conch: a Python process died while it was loading model `m`") and str(file) in said


def test_a_load_that_does_not_end_is_given_up_and_named(start_triton: StartTriton, slow_repository: Path) -> None:
    with pytest.raises(
        ServerFailed, match=r"not ready within 3 s, it is still loading model `sleeper` \(.*model\.py\)"
    ):
        start_triton(slow_repository, start_timeout_s=3)


def refused_before_a_start(settings: Settings, *only: str) -> str:
    """What `conch serve` and `conch up` say of a repository that Triton is not even started with."""
    with pytest.raises((RepositoryError, SettingsError)) as refused, serving(settings, only):
        pass
    return str(refused.value)


def test_a_missing_repository_is_named(make_settings: MakeSettings, tmp_path: Path) -> None:
    said = refused_before_a_start(make_settings(tmp_path / "nowhere"))
    assert said.startswith(f"there is no model repository at {tmp_path / 'nowhere'}: set CONCH_REPOSITORY")


def test_a_config_that_cannot_be_read_is_named_with_its_line(
    add_model: AddModel, make_settings: MakeSettings, tmp_path: Path
) -> None:
    config = add_model(tmp_path, "m").parent / "config.pbtxt"
    config.write_text(config.read_text() + "max_batch: 3\n")
    assert f"{config}:10: " in refused_before_a_start(make_settings(tmp_path))


@pytest.fixture
def unbuilt(tmp_path: Path) -> Path:
    """The project's repository without anything that was built."""
    repository = tmp_path / "unbuilt"
    for config in Settings().repository.glob("*/*.*"):
        copy = repository / config.parent.name / config.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(config.read_bytes())
    return repository


def test_a_pipeline_that_is_not_built_is_named_with_the_command_that_builds_it(
    make_settings: MakeSettings, unbuilt: Path
) -> None:
    said = refused_before_a_start(make_settings(unbuilt), "digits")
    assert f"{unbuilt / 'digits_model'}" in said and "conch build" in said
    assert "embed" not in said


def test_a_pipeline_that_is_misspelt_is_guessed(make_settings: MakeSettings, unbuilt: Path) -> None:
    said = refused_before_a_start(make_settings(unbuilt), "sentimant")
    assert said == f"there is no pipeline `sentimant` in {unbuilt}: did you mean `sentiment`?"


def test_a_profile_that_no_model_has_is_refused(
    add_model: AddModel, make_settings: MakeSettings, tmp_path: Path
) -> None:
    add_model(tmp_path, "m")
    said = refused_before_a_start(make_settings(tmp_path, profile="turbo"))
    assert said == f"no model of {tmp_path} has a profile `turbo` (configs/turbo.pbtxt); there is none at all"
