"""Releases side by side: what they change in configurations holds for a model's profiles as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.check import check_repository, render
from conch_tools.errors import RepositoryError
from conch_tools.pipelines import load_pipeline
from conch_tools.releases.configs import pinned_release
from conch_tools.releases.folders import LATEST, pinned_in_files, require_room
from conch_tools.settings import Settings
from small_classifier import make_release

PROFILE = "quick"
VARIED = ("mood", "mood_model")
"""The ensemble, and a step that two releases have versions of."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two releases of `mood`; two of its models have a profile."""
    repository = tmp_path / "repository"
    repository.mkdir()
    make_release(repository, "mood", ("cat", "dog"), 1.0, 1)
    for model in VARIED:
        profile = repository / model / "configs" / f"{PROFILE}.pbtxt"
        profile.parent.mkdir()
        profile.write_text((repository / model / "config.pbtxt").read_text())
    make_release(repository, "mood", ("red", "blue"), 9.0, 2)
    return repository


@pytest.mark.parametrize("profile", [None, PROFILE])
def test_every_release_can_be_loaded_with_every_profile(repository: Path, profile: str | None) -> None:
    assert render(check_repository(repository, Settings().backends, profiles=[profile])) == "no faults found"


def test_a_pin_holds_with_every_profile_and_is_taken_out_of_all(repository: Path) -> None:
    files = [repository / "mood" / "config.pbtxt", repository / "mood" / "configs" / f"{PROFILE}.pbtxt"]
    before = [file.read_text() for file in files]
    with pinned_in_files(repository, ["mood"], "1"):
        assert [pinned_release(file.read_text()) for file in files] == [1, 1]
    with pinned_in_files(repository, ["mood"], LATEST):
        assert [file.read_text() for file in files] == before


def test_a_profile_that_keeps_versions_out_leaves_no_room_for_another_release(repository: Path) -> None:
    profile = repository / "mood_model" / "configs" / f"{PROFILE}.pbtxt"
    profile.write_text(profile.read_text().replace("{ all {} }", "{ latest { num_versions: 1 } }"))
    with pytest.raises(RepositoryError, match=rf"{PROFILE}.pbtxt: its version_policy keeps versions out"):
        require_room(load_pipeline(repository / "mood"))
