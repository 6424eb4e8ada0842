"""Every failure that a user meets on the way from a model to a served pipeline is one line with its cure, and leaves
neither a half-built version nor anything else behind.

What a folder may lack is told in tests/unit/tools/new/test_refused_sources.py, without a process for each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from conch_tools.errors import BuildError
from conch_tools.pipelines import load_pipeline
from conch_tools.settings import Settings
from hub_stand_in import CUT_OFF, STALLED, hub_stand_in
from small_text_models import save_small_model

MakeSettings = Callable[..., Settings]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
StartConch = Callable[..., "subprocess.Popen[str]"]
WaitUntil = Callable[..., None]

TINY_BYTES = 64 << 10
"""Of a disk that a build does not fit on."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(
        tmp_path_factory.mktemp("model") / "source", "bert", "SequenceClassification", ["yes", "no"]
    )


@pytest.fixture(scope="module")
def hub(model: Path) -> Iterator[str]:
    """Its address."""
    with hub_stand_in(model) as running:
        yield running.url


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


@pytest.fixture
def empty(tmp_path: Path, make_settings: MakeSettings) -> Settings:
    """A checkout without a pipeline."""
    (tmp_path / "repository").mkdir()
    return make_settings(tmp_path / "repository")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed said, after it told how far it was."""
    assert done.returncode == BuildError.exit_code, done.stderr
    *begun, said = done.stderr.splitlines()
    assert all(line.startswith(("conch: building stars", "conch: stars: staged in ")) for line in begun), done.stderr
    return said


REFUSED = {
    "nobody": "the hub has no model owner/nobody for you: correct the id, or where it is private, log in",
    "missing": "the hub has no model owner/missing for you: correct the id",
    "gated": r"owner/gated is gated: ask for access at http://\S+/owner/gated, then log in by `hf auth login`",
    "waiting": "owner/waiting is gated: ask for access",
    "old@v9": "owner/old has no revision v9: name a branch, a tag or a commit",
    "token": "the hub does not know your token: log in",
    "forbidden": "your token may not read owner/forbidden: log in",
    "disabled": "the hub has disabled owner/disabled",
    "busy": r"the hub takes no more requests for now \(HTTP 429\): wait some minutes",
    "broken": r"the hub is out of order \(HTTP 500\): try again later",
    STALLED: r"the hub at http://\S+ does not answer in time: try again later",
    CUT_OFF: f"the download of owner/{CUT_OFF} broke off: run the command again",
}


@pytest.mark.parametrize("model_id", REFUSED)
def test_what_the_hub_does_not_give(
    model_id: str, hub: str, empty: Settings, run_conch: RunConch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    assert re.search(REFUSED[model_id], new(run_conch, empty, f"owner/{model_id}"))


def new(run_conch: RunConch, settings: Settings, source: str) -> str:
    """What `conch new` says when it refuses, having left nothing behind."""
    said = the_line(run_conch("new", "stars", *TASK, "--source", source, "--yes", settings=settings))
    assert not any(settings.repository.iterdir()) and not settings.state.exists()
    return said


TASK = ("--task", "text-classification")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE is set and owner/fine is not in the hub's cache: unset it"),
        ("HF_ENDPOINT", "http://127.0.0.1:9", r"the hub at http://127.0.0.1:9 cannot be reached and owner/fine is not"),
    ],
)
def test_a_hub_that_is_not_there(
    name: str, value: str, said: str, empty: Settings, run_conch: RunConch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert re.search(said, new(run_conch, empty, "owner/fine"))


def test_what_the_hub_gives_is_there_without_it_as_well(
    hub: str, empty: Settings, run_conch: RunConch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    done = run_conch("new", "stars", *TASK, "--source", "owner/fine", "--yes", settings=empty)
    assert done.returncode == 0, done.stderr
    assert load_pipeline(empty.repository / "stars").source.hub == "owner/fine"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = run_conch("new", "moons", *TASK, "--source", "owner/fine", "--yes", settings=empty)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def checkout(model: Path, tmp_path_factory: pytest.TempPathFactory, make_module_settings: MakeSettings) -> Path:
    """A folder with the repository of a pipeline that was built, and with its source."""
    from conch_tools.build.run import build
    from conch_tools.new.questions import answers
    from conch_tools.new.run import new_pipeline
    from conch_tools.pipelines import load_pipelines

    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(model, folder / "source")
    (folder / "repository").mkdir()
    settings = make_module_settings(folder, folder / "repository")
    told = {"task": "text-classification", "source": str(folder / "source")}
    new_pipeline(settings, answers("stars", told, None))
    assert build(settings, load_pipelines(settings.repository), print) == ["stars"]
    shutil.rmtree(settings.state)
    return folder


@pytest.fixture
def built(checkout: Path, tmp_path: Path, make_settings: MakeSettings) -> Settings:
    """A copy of it, to spoil."""
    for part in ("source", "repository"):
        shutil.copytree(checkout / part, tmp_path / part)
    return make_settings(tmp_path / "repository")


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def weights_cut_off(checkout: Path) -> None:
    os.truncate(checkout / "source" / "model.safetensors", 5000)


def config_is_no_json(checkout: Path) -> None:
    os.truncate(checkout / "source" / "config.json", 20)


def another_architecture(checkout: Path) -> None:
    (checkout / "source" / "config.json").write_text(json.dumps({"model_type": "t5"}))


def tokenizer_damaged(checkout: Path) -> None:
    os.truncate(checkout / "source" / "tokenizer.json", 100)


def source_gone(checkout: Path) -> None:
    shutil.rmtree(checkout / "source")


def from_a_gated_model(checkout: Path) -> None:
    edited(checkout / "repository/stars/pipeline.toml", 'folder = "../../source"', 'hub = "owner/gated"')


def a_gate_that_rounding_misses(checkout: Path) -> None:
    edited(checkout / "repository/stars/pipeline.toml", "max_abs_difference = 0.0001", "max_abs_difference = 1e-12")


def a_gate_that_nothing_measures(checkout: Path) -> None:
    edited(checkout / "repository/stars/pipeline.toml", "[gates]", "[gates]\nminimum = { f1 = 0.9 }")


SPOILT: Mapping[Callable[[Path], None], str] = {
    weights_cut_off: r"model.safetensors has 5000 bytes of \d+: it was cut off or changed, bring it again",
    config_is_no_json: "config.json is no JSON .*: bring it again from where it is whole",
    another_architecture: "its source is of the kind t5: this task takes encoders",
    tokenizer_damaged: r"has no fast tokenizer \(tokenizer.json\)",
    source_gone: "holds no config.json",
    from_a_gated_model: "owner/gated is gated: ask for access",
    a_gate_that_rounding_misses: "`stars_model` is the first step that differs from the reference: .*",
    a_gate_that_nothing_measures: r"its gates name `f1`, but measured are none: .* or change \[gates\] in ",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_build_that_is_refused_leaves_the_one_before(
    spoil: Callable[[Path], None],
    hub: str,
    built: Settings,
    tmp_path: Path,
    run_conch: RunConch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    spoil(tmp_path)
    before = content(built.repository)
    said = the_line(run_conch("build", "--force", settings=built))
    assert re.search(f"^conch: building `stars` failed: .*{SPOILT[spoil]}", said)
    assert content(built.repository) == before
    assert not (built.state / "staging").exists()


def test_a_worker_that_the_system_kills_for_want_of_memory(
    built: Settings, tmp_path: Path, start_conch: StartConch, wait_until: WaitUntil
) -> None:
    before = content(built.repository)
    process = start_conch("build", "--force", settings=built)

    wait_until(lambda: (built.state / "staging" / "stars_model" / "1").is_dir(), "the worker is at its job")
    for child in psutil.Process(process.pid).children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    assert process.wait(30) == BuildError.exit_code
    _, said = (tmp_path / "conch.log").read_text().splitlines()
    assert said == (
        "conch: building `stars` failed: its process was killed (SIGKILL), as the system does when memory runs out: "
        "close what else uses it, allow a container more, or name one pipeline at a time"
    )
    assert content(built.repository) == before
    assert not (built.state / "staging").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is full at once; only root can make one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={TINY_BYTES}"]
    if subprocess.run(["mount", *options, "tiny", str(folder)], capture_output=True).returncode != 0:
        pytest.skip("a disk that is full wants the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(built: Settings, tiny_disk: Path, run_conch: RunConch) -> None:
    before = content(built.repository)
    full = built.model_copy(update={"state": tiny_disk / "state"})
    said = the_line(run_conch("build", "--force", settings=full))
    assert re.search("No space left on device.*: make room there, or set CONCH_STATE and TMPDIR", said)
    assert content(built.repository) == before
    assert [path.name for path in full.state.iterdir()] == ["build.lock"]


@pytest.fixture
def read_only(built: Settings) -> Iterator[Settings]:
    """A repository that nobody may write to; root may write to every other."""
    if os.getuid() == 0:
        here = str(built.repository)
        mounts = (["--bind", here, here], ["-o", "remount,ro,bind", here])
        if any(subprocess.run(["mount", *mount], capture_output=True).returncode != 0 for mount in mounts):
            pytest.skip("root writes everywhere unless it may mount")
        yield built
        subprocess.run(["umount", str(built.repository)], check=True)
    else:
        folders = [path for path in (built.repository, *built.repository.rglob("*")) if path.is_dir()]
        for folder in folders:
            folder.chmod(0o555)
        yield built
        for folder in folders:
            folder.chmod(0o755)


def test_a_repository_that_cannot_be_written(read_only: Settings, run_conch: RunConch) -> None:
    before = content(read_only.repository)
    source = str(read_only.repository.parent / "source")
    for command in (("build", "--force"), ("new", "moons", *TASK, "--source", source, "--yes")):
        done = run_conch(*command, settings=read_only)
        assert done.returncode == 1
        assert re.search(
            "(Read-only file system|Permission denied): .*: (name a|let this)", done.stderr.splitlines()[-1]
        )
    assert content(read_only.repository) == before
    assert not (read_only.state / "staging").exists()
