"""Which repositories, backends and rules the arguments of `conch check` mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conch_tools.check.command import Selection, check, repository_holding
from conch_tools.errors import SettingsError
from conch_tools.settings import Settings

HOOKS = Path(__file__).parents[4] / ".pre-commit-hooks.yaml"
CONFIG = """\
backend: "%s"
max_batch_size: -1
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""

ADAPTOR = """\
class TritonPythonModel:
    def execute(self, requests):
        return self.answers(requests)
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository of somebody else, with one fault and a backend that we know nothing of."""
    folder = tmp_path / "theirs" / "models"
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "config.pbtxt").write_text(CONFIG % "their_own")
    (folder / "m" / "configs").mkdir()
    (folder / "m" / "configs" / "gpu.pbtxt").write_text(CONFIG.replace("-1", "8") % "fil")
    return folder


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a Conch with a repository and a folder of backends of its own."""
    root = tmp_path / "ours"
    (root / "python_backends" / "echo").mkdir(parents=True)
    (root / "python_backends" / "echo" / "model.py").write_text(ADAPTOR)
    (root / "model_repository" / "n" / "1").mkdir(parents=True)
    (root / "model_repository" / "n" / "config.pbtxt").write_text(CONFIG % "echo")
    monkeypatch.setattr("conch_tools.settings.project_root", lambda: root)
    return Settings()


def codes(settings: Settings, *paths: Path, backends: tuple[Path, ...] = (), selection: str = "") -> list[str]:
    return [each.code for each in check(settings, paths, backends, Selection.of([selection], []))]


def test_without_a_path_the_own_repository_is_checked_with_its_backends(settings: Settings) -> None:
    assert codes(settings) == ["CFG008"]
    (settings.repository / "n" / "config.pbtxt").write_text(CONFIG % "eco")
    assert codes(settings) == ["BAK002", "CFG008"]


def test_nothing_is_said_of_backends_that_lie_elsewhere(settings: Settings, models: Path) -> None:
    assert codes(settings, models) == ["CFG008"]


def test_backends_beside_a_repository_or_named_ones_are_looked_at(settings: Settings, models: Path) -> None:
    beside = models.parent / "python_backends"
    (beside / "their_other").mkdir(parents=True)
    assert codes(settings, models) == ["BAK002", "CFG008"]
    named = models.parent / "backends"
    (named / "their_own").mkdir(parents=True)
    (named / "their_own" / "model.py").write_text(ADAPTOR)
    assert codes(settings, models, backends=(beside, named)) == ["CFG008"]
    with pytest.raises(SettingsError, match="nowhere is no folder"):
        codes(settings, models, backends=(models / "nowhere",))


def test_backends_that_a_setting_names_must_be_there(
    settings: Settings, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCH_BACKENDS", str(settings.backends))
    assert codes(Settings(), models) == ["BAK002", "CFG008"]
    monkeypatch.setenv("CONCH_BACKENDS", str(models / "nowhere"))
    with pytest.raises(SettingsError, match="nowhere is no folder"):
        codes(Settings(), models)


@pytest.mark.parametrize("path", ["m", "m/config.pbtxt", "m/1/model.py", "m/configs/gpu.pbtxt"])
def test_a_model_or_a_file_means_the_repository_that_holds_it(settings: Settings, models: Path, path: str) -> None:
    (models / path).touch()
    assert codes(settings, models / path) == ["CFG008"]


@pytest.mark.parametrize("here", [True, False])
def test_whether_there_is_a_gpu_may_be_said(
    settings: Settings, models: Path, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    monkeypatch.setattr("conch_tools.check.run.gpu_is_here", lambda: here)
    (models / "m" / "config.pbtxt").write_text(CONFIG % "their_own" + "instance_group { kind: KIND_GPU }")
    for gpu in (True, False, None):
        found = [each.code for each in check(settings, [models], gpu=gpu)]
        assert ("CFG018" in found) is not (here if gpu is None else gpu)


def test_a_repository_is_checked_once_however_many_of_its_files_are_named(settings: Settings, models: Path) -> None:
    (models / "m" / "1" / "model.py").touch()
    assert codes(settings, models, models / "m" / "config.pbtxt", models / "m" / "1" / "model.py") == ["CFG008"]


def test_a_file_of_no_model_is_passed_over(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "readme.md").touch()
    assert codes(settings, tmp_path / "readme.md") == []


@pytest.mark.parametrize(
    ("file", "holds"),
    [
        ("r/m/1/model.onnx", "r"),
        ("r/m/1/deep/model.onnx", None),
        ("r/m/configs/gpu.pbtxt", None),
        ("r/m/1/notes.txt", None),
        ("r/m/v1/model.py", None),
        ("configs/settings.toml", None),
    ],
)
def test_models_without_a_configuration_are_known_by_their_files(tmp_path: Path, file: str, holds: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert repository_holding(tmp_path / file) == (None if holds is None else tmp_path / holds)


def test_a_folder_of_configurations_is_one_of_a_model_beside_a_version_only(tmp_path: Path) -> None:
    profile = tmp_path / "proj" / "configs" / "label_map.pbtxt"
    profile.parent.mkdir(parents=True)
    profile.touch()
    assert repository_holding(profile) is None
    (tmp_path / "proj" / "1").mkdir()
    assert repository_holding(profile) == tmp_path


def test_a_model_without_a_configuration_is_no_repository(settings: Settings, models: Path) -> None:
    (models / "bare" / "1").mkdir(parents=True)
    (models / "bare" / "1" / "model.py").write_text(ADAPTOR)
    assert codes(settings, models / "bare") == ["CFG008"]


@pytest.mark.parametrize(
    ("path", "looked_at"),
    [
        ("r/m/labels.txt", True),
        ("r/m/warmup/x.bin", True),
        ("r/m/initial_state/zero", True),
        ("r/m/1/weights/a", True),
        ("notes.txt", False),
    ],
)
def test_the_hook_looks_at_what_belongs_to_models(path: str, looked_at: bool) -> None:
    (line,) = (each for each in HOOKS.read_text().splitlines() if "files:" in each)
    assert (re.search(line.partition("files: ")[2], path) is not None) is looked_at


def test_what_is_not_there_and_what_is_empty_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere is not there"):
        codes(settings, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="empty is empty"):
        codes(settings, tmp_path / "empty")


@pytest.mark.parametrize(
    ("selected", "ignored", "taken"),
    [
        ([], [], ["CFG001", "CFG015", "ENS012"]),
        (["CFG"], [], ["CFG001", "CFG015"]),
        (["cfg01,ENS"], [], ["CFG015", "ENS012"]),
        ([], ["CFG015", "ENS"], ["CFG001"]),
        (["CFG"], ["CFG015"], ["CFG001"]),
    ],
)
def test_rules_are_selected_and_ignored_by_how_their_codes_begin(
    selected: list[str], ignored: list[str], taken: list[str]
) -> None:
    selection = Selection.of(selected, ignored)
    assert [code for code in ("CFG001", "CFG015", "ENS012") if selection.takes(code)] == taken


def test_a_selection_that_no_rule_has_is_refused() -> None:
    with pytest.raises(SettingsError, match="no rule's code begins with ENS12: did you mean `ENS012`"):
        Selection.of([], ["CFG,ENS12"])
