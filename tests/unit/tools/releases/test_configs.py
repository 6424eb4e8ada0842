"""What releases change in configurations of others, and that all of it can be taken out again."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.check.pbtxt import read_config
from conch_tools.errors import RepositoryError
from conch_tools.releases.configs import (
    allow_all_versions,
    as_written,
    pin,
    pinned_release,
    release_config,
    require_latest,
    unpin,
)
from small_classifier import CONFIGS

STEPS = {"NAME_features": 1, "NAME_model": 12, "NAME_labels": 3}


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    file = tmp_path / "config.pbtxt"
    file.write_text("# Mine.\n" + CONFIGS[""])
    return file


def test_a_pin_names_the_versions_and_keeps_the_rest_of_the_text(ensemble: Path) -> None:
    before = ensemble.read_text()
    pin(ensemble, 12, STEPS)
    config = read_config(ensemble)
    assert [step.model_version for step in config.ensemble_scheduling.step] == [1, 12, 3]
    assert list(config.version_policy.specific.versions) == [12] == [pinned_release(ensemble.read_text())]
    assert "# Mine.\n" in ensemble.read_text()
    pin(ensemble, 2, {**STEPS, "NAME_model": 2})
    assert pinned_release(ensemble.read_text()) == 2
    assert as_written(ensemble.read_text()) == before
    unpin(ensemble)
    assert ensemble.read_text() == before
    unpin(ensemble)
    assert ensemble.read_text() == before


def test_steps_on_one_line_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "config.pbtxt"
    steps = ", ".join(f'{{ model_version: -1 model_name: "{name}" }}' for name in STEPS)
    file.write_text(f'platform: "ensemble" ensemble_scheduling {{ step [ {steps} ] }}')
    pin(file, 12, STEPS)
    assert [step.model_version for step in read_config(file).ensemble_scheduling.step] == [1, 12, 3]


def test_a_step_is_told_once_to_load_all_versions(tmp_path: Path) -> None:
    file = tmp_path / "config.pbtxt"
    file.write_text(CONFIGS["_model"])
    for _ in range(2):
        allow_all_versions(file)
        assert read_config(file).version_policy.HasField("all")
    assert as_written(file.read_text()) == CONFIGS["_model"]


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("version_policy: { latest { num_versions: 2 } }", "it has a version_policy of its own"),
        ('ensemble_scheduling { step [ { model_name: "a" model_version: 3 } ] }', "it wants version 3 of `a`"),
    ],
)
def test_an_ensemble_that_says_something_else_is_left_alone(tmp_path: Path, said: str, refused: str) -> None:
    file = tmp_path / "config.pbtxt"
    file.write_text(said)
    with pytest.raises(RepositoryError, match=refused):
        require_latest(file)
    with pytest.raises(RepositoryError, match=refused):
        pin(file, 1, {})
    assert file.read_text() == said


def test_a_step_that_keeps_versions_out_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config.pbtxt"
    file.write_text("version_policy: { specific { versions: [ 1 ] } }")
    with pytest.raises(RepositoryError, match="its version_policy keeps versions out"):
        allow_all_versions(file)


def test_a_release_has_an_ensemble_over_its_own_versions(ensemble: Path, tmp_path: Path) -> None:
    pin(ensemble, 12, STEPS)
    (tmp_path / "release.pbtxt").write_text(release_config(ensemble, "mood-v2", {"NAME_model": 2}))
    config = read_config(tmp_path / "release.pbtxt")
    assert config.name == "mood-v2" and not config.HasField("version_policy")
    assert [step.model_version for step in config.ensemble_scheduling.step] == [-1, 2, -1]
