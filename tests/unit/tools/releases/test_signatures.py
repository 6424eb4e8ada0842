"""Signed releases: whatever of one was changed, added or exchanged is refused where signatures are required."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError, SettingsError
from conch_tools.pipelines import load_pipelines
from conch_tools.releases.folders import pinned_in_files
from conch_tools.releases.keys import new_key
from conch_tools.releases.signatures import require_signed, sign
from conch_tools.settings import Settings
from small_classifier import make_release

ONE, TWO = ("cat", "dog"), ("red", "blue")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two signed releases of `mood`, one of `food`, and the keys."""
    folder = tmp_path_factory.mktemp("signed")
    repository = folder / "repository"
    repository.mkdir()
    make_release(repository, "mood", ONE, 1.0, 1)
    make_release(repository, "mood", TWO, 9.0, 2)
    make_release(repository, "food", ONE, 1.0, 1)
    new_key(folder / "ours")
    new_key(folder / "theirs")
    sign(folder / "ours", load_pipelines(repository))
    return folder


@pytest.fixture
def settings(signed: Path, tmp_path: Path) -> Settings:
    """Over a copy that may be changed."""
    shutil.copytree(signed / "repository", tmp_path / "repository")
    return Settings(repository=tmp_path / "repository", require_signatures=True, signature_keys=signed / "ours.pub")


def require(settings: Settings) -> None:
    require_signed(settings, load_pipelines(settings.repository, releases=True))


def test_what_was_signed_is_served(settings: Settings, signed: Path) -> None:
    require(settings)
    require(settings.model_copy(update={"signature_keys": signed}))


def write(name: str, text: str = "other") -> Callable[[Path], object]:
    def change(repository: Path) -> None:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)

    return change


def append(name: str, text: str) -> Callable[[Path], object]:
    return lambda repository: write(name, (repository / name).read_text() + text)(repository)


def weights_with_their_hash(repository: Path) -> None:
    """Who changes weights changes the manifest that lists them, too."""
    shutil.copytree(repository / "mood_model" / "1", repository / "mood_model" / "2", dirs_exist_ok=True)


def manifest_of_another(repository: Path) -> None:
    """With its signature, which is good."""
    for name in ("manifest.json", "manifest.sig"):
        shutil.copyfile(repository / "food" / "1" / name, repository / "mood" / "2" / name)


def older_release_as_newest(repository: Path) -> None:
    for name in ("manifest.json", "manifest.sig"):
        shutil.copyfile(repository / "mood" / "1" / name, repository / "mood" / "2" / name)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no signature": (lambda repository: (repository / "mood/1/manifest.sig").unlink(), "release 1 has no signature"),
    "no base64": (write("mood/2/manifest.sig", "?"), "is no signature"),
    "the manifest": (
        append("mood/2/manifest.json", " "),
        "by none of the keys that are trusted, or of another manifest",
    ),
    "weights": (write("mood_model/1/model.onnx"), "model.onnx has 5 bytes"),
    "weights and their manifest": (weights_with_their_hash, "the manifest of `mood_model` 2 is not the one"),
    "labels": (write("mood_labels/2/labels.txt", "red\nblue\n"), "labels.txt"),
    "a manifest of another pipeline": (manifest_of_another, "is of another release, food 1"),
    "an older release under a new number": (older_release_as_newest, "is of another release, mood 1"),
    "a step's configuration": (append("mood_labels/config.pbtxt", "# x"), "config.pbtxt was changed after the build"),
    "the ensemble's": (append("mood/config.pbtxt", "# x"), "config.pbtxt was changed after the build"),
    "a release's ensemble": (append("mood-v1/config.pbtxt", "# x"), "is not what the release says"),
    "what a release must answer": (append("mood-v1/release.toml", "# x"), "release.toml is not what the release says"),
    "another version": (write("mood_model/3/model.onnx"), "mood_model/3 belongs to no release"),
    "another release": (write("mood/3/manifest.json", "{}"), "has a version that is no release"),
    "code in a version": (write("mood_model/2/model.py"), "model.py is not listed"),
    "a library beside a model": (write("mood_model/libtriton_onnxruntime.so"), "is in no manifest"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused(settings: Settings, change: str) -> None:
    make, refused = CHANGES[change]
    make(settings.repository)
    with pytest.raises(RepositoryError, match=refused) as problem:
        require(settings)
    assert len(str(problem.value).splitlines()) == 1
    require(settings.model_copy(update={"require_signatures": False}))


def test_a_key_that_is_not_trusted_signs_nothing(settings: Settings, signed: Path) -> None:
    sign(signed / "theirs", load_pipelines(settings.repository))
    with pytest.raises(RepositoryError, match="by none of the keys that are trusted"):
        require(settings)
    require(settings.model_copy(update={"signature_keys": signed / "theirs.pub"}))


def test_a_pin_is_no_change(settings: Settings) -> None:
    with pinned_in_files(settings.repository, ["mood"], "1"):
        require(settings)


def test_what_was_changed_is_not_signed(settings: Settings, signed: Path) -> None:
    (settings.repository / "mood_labels" / "1" / "labels.txt").write_text("dog\ncat\n")
    with pytest.raises(RepositoryError, match=r"`mood` is not signed: .*labels\.txt"):
        sign(signed / "ours", load_pipelines(settings.repository))


def test_a_repository_without_pipelines_cannot_be_vouched_for(settings: Settings) -> None:
    with pytest.raises(RepositoryError, match="cover pipelines only"):
        require_signed(settings, [])


def test_keys_that_cannot_be_used_are_told(settings: Settings, signed: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pub").write_text("no key")
    for place, refused in (
        (None, "name the trusted keys by CONCH_SIGNATURE_KEYS"),
        (tmp_path / "text.pub", "holds no public key"),
        (signed / "repository", "there is no key"),
        (signed / "ours", "holds no public key"),
    ):
        with pytest.raises(SettingsError, match=refused):
            require(settings.model_copy(update={"signature_keys": place}))
    with pytest.raises(SettingsError, match="holds no private key"):
        sign(signed / "ours.pub", [])
    with pytest.raises(SettingsError, match="is there already"):
        new_key(signed / "ours")
    assert (signed / "ours").stat().st_mode & 0o77 == 0


def test_where_nothing_was_built_nothing_is_signed_and_that_is_said(settings: Settings, signed: Path) -> None:
    for name in ("1", "2"):
        shutil.rmtree(settings.repository / "mood" / name)
    with pytest.raises(RepositoryError, match="nothing is signed, because nothing was built as a release yet"):
        sign(signed / "ours", load_pipelines(settings.repository, ["mood"]))
