"""Loading a repository: what is a model, which versions core takes, and refusals of the path itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.check.repository import load_repository
from conch_tools.errors import SettingsError


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_every_visible_folder_is_a_model_by_its_name(tmp_path: Path) -> None:
    folders(tmp_path, "b/1", "a/1", ".git/objects")
    (tmp_path / "readme.md").touch()
    assert list(load_repository(tmp_path).models) == ["a", "b"]


def test_versions_are_numbers_and_core_reads_a_number_at_the_start(tmp_path: Path) -> None:
    folders(tmp_path, "m/1", "m/02", "m/0", "m/10", "m/7.old", "m/v3", "m/configs")
    model = load_repository(tmp_path).models["m"]
    assert model.versions == (0, 1, 10)
    assert model.numbered_folders == {0: "0", 1: "1", 7: "7.old", 10: "10"}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", (9,)),
        ("latest { num_versions: 2 }", (3, 9)),
        ("latest { }", ()),
        ("all { }", (1, 3, 9)),
        ("specific { versions: [ 3, 4 ] }", (3,)),
    ],
)
def test_the_policy_selects_versions_as_core_does(tmp_path: Path, policy: str, served: tuple[int, ...]) -> None:
    folders(tmp_path, "m/1", "m/3", "m/9")
    (tmp_path / "m" / "config.pbtxt").write_text(f"version_policy {{ {policy} }}")
    assert load_repository(tmp_path).models["m"].served_versions == served


def test_a_step_belongs_to_the_longest_pipeline_its_name_continues(tmp_path: Path) -> None:
    folders(tmp_path, "a", "a_b", "a_b_model", "a_model", "ab_model")
    for pipeline in ("a", "a_b"):
        (tmp_path / pipeline / "pipeline.toml").touch()
    models = load_repository(tmp_path).models
    assert {name: model.pipeline for name, model in models.items()} == {
        "a": "a",
        "a_b": "a_b",
        "a_b_model": "a_b",
        "a_model": "a",
        "ab_model": None,
    }


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere is not a folder"):
        load_repository(tmp_path / "nowhere")


def test_a_model_is_not_taken_for_a_repository(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").touch()
    with pytest.raises(SettingsError, match="name the folder that holds it"):
        load_repository(tmp_path)
