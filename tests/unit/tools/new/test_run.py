"""`conch new` refuses what it cannot use before it writes anything, and a failure leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conch_tools.errors import BuildError, SettingsError
from conch_tools.new import run
from conch_tools.new.layouts import LAYOUTS
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import Task
from conch_tools.settings import Settings

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def told(name: str, source: object, task: Task = "text-classification") -> run.Answers:
    return answers(name, {"task": task, "source": str(source)}, None)


def content(settings: Settings) -> set[Path]:
    folders = (settings.repository, settings.state)
    return {path for folder in folders for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Reviews", "`Reviews` cannot name a pipeline"),
        ("1st", "cannot name a pipeline"),
        ("a-b", "cannot name a pipeline"),
        ("../b", "cannot name a pipeline"),
        ("", "cannot name a pipeline"),
        ("a" * 61, "cannot name a pipeline"),
        ("reviews", r"repository/reviews is there already: choose another name, or remove it"),
        ("reviews_short", "`reviews_short` would be a step of `reviews`, whose name it continues"),
        ("topics", "topics_model is there already"),
        ("topic", None),
    ],
)
def test_a_name_that_is_none_or_belongs_to_another_is_refused(
    settings: Settings, source: Path, name: str, said: str | None
) -> None:
    before = content(settings)
    # The last one is good, and gets as far as its source, which is empty.
    with pytest.raises((SettingsError, BuildError), match=said or "holds no config.json"):
        new_pipeline(settings, told(name, source))
    assert content(settings) == before


def test_a_name_that_others_continue_is_refused(settings: Settings, source: Path) -> None:
    (settings.repository / "topics_other").mkdir()
    (settings.repository / "topics_model").rmdir()
    with pytest.raises(SettingsError, match="`topics_other` would become a step of `topics`"):
        new_pipeline(settings, told("topics", source))


def test_a_source_that_is_not_there_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such folder"):
        new_pipeline(settings, told("stars", tmp_path / "nowhere"))


@pytest.mark.parametrize("task", LAYOUTS)
def test_a_folder_that_holds_no_model_is_refused_by_every_task(settings: Settings, source: Path, task: Task) -> None:
    before = content(settings)
    said = f"{source} holds no config.json, so it is no Hugging Face model folder"
    if task == "tabular-classification":
        said = "tabular-classification needs a source that is a file"
    with pytest.raises(BuildError, match=said):
        new_pipeline(settings, told("stars", source, task))
    assert content(settings) == before


@pytest.fixture
def drafted_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the source had answered."""

    def draft(repository: Path, answers: run.Answers, source: Any) -> Any:
        pipeline = run._pipeline(repository, answers, source)
        for model in (answers.name, *(f"{answers.name}_{role}" for role in LAYOUTS[answers.task].steps)):
            (repository / model).mkdir()
        return pipeline

    monkeypatch.setattr(run, "_draft", draft)
    monkeypatch.setattr(run, "expected_answers", lambda folder: [{}, {}])


@pytest.mark.usefixtures("drafted_without_a_model")
def test_the_folders_arrive_together_or_not_at_all(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(settings)
    move = shutil.move

    def full(moved: Path, target: Path) -> None:
        if target.name == "stars":
            raise OSError(28, "No space left on device", str(target))
        move(moved, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", full)
        with pytest.raises(OSError, match="No space left"):
            new_pipeline(settings, told("stars", source))
    assert content(settings) == before
    folders = new_pipeline(settings, told("stars", source))
    assert [folder.name for folder in folders] == ["stars", "stars_tokenize", "stars_model", "stars_labels"]
    assert all(folder.is_dir() for folder in folders)
