"""Signed releases: who vouches for what is served, as far as files can tell.

What is signed is a release's manifest, by Ed25519. It names the manifest of every step, which names every file, and the
configurations; so one signature covers all that makes an answer, but for the backends' code and what a pipeline
`uses`, which has a signature of its own. A file that no manifest names is refused as well, because Triton would load
it: another version, a library beside a model. An older release that was signed is as good as a newer one.
"""

from __future__ import annotations

import base64
import binascii
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from conch_steps.manifest import MANIFEST_NAME, SIGNATURE_NAME, sha256_of
from conch_tools.errors import RepositoryError, SettingsError
from conch_tools.files import write_whole
from conch_tools.pipelines import RELEASE_FILE, Pipeline, version_numbers
from conch_tools.releases.configs import as_written, release_config
from conch_tools.releases.folders import CONFIG, ENSEMBLE_FILE, Release, releases_of, sha256_of_text
from conch_tools.settings import Settings
from conch_tools.verify import problem_of

IsSigned: TypeAlias = Callable[[bytes, bytes], bool]
"""Whether a signature is one of a content by a key that is trusted."""
SIGNED_AS = b"conch release manifest\n"
"""Before what is signed, so that a signature of something else with the same key is none of a release."""


def sign(key_file: Path, pipelines: Sequence[Pipeline]) -> list[Release]:
    """Sign every release of the pipelines; returns them. Raises SettingsError for a key that cannot be read, and
    RepositoryError where nothing was built, and for files that are not what was built: nobody vouches for those."""
    key = keys().private_key(key_file)
    signed = []
    for pipeline in pipelines:
        releases = releases_of(pipeline)
        for release in releases:
            for problem in _differences(pipeline, release, newest=release is releases[-1]):
                raise RepositoryError(f"`{pipeline.name}` is not signed: {problem}")
            signature = key.sign(_content(release))
            write_whole(release.folder / SIGNATURE_NAME, base64.b64encode(signature).decode() + "\n")
            signed.append(release)
    if not signed:
        raise RepositoryError("nothing is signed, because nothing was built as a release yet: conch build")
    return signed


def require_signed(settings: Settings, pipelines: Sequence[Pipeline]) -> None:
    """Raise RepositoryError unless every release that could be served is signed and as it was signed, where settings
    require so."""
    if not settings.require_signatures:
        return
    if not pipelines:
        raise RepositoryError("signatures are required, and cover pipelines only: this repository has none")
    if settings.signature_keys is None:
        raise SettingsError(
            "signatures are required: name the trusted keys by CONCH_SIGNATURE_KEYS, a file or a folder"
        )
    is_signed = keys().signed_by(settings.signature_keys)
    for pipeline in pipelines:
        for problem in _problems(settings, pipeline, is_signed):
            raise RepositoryError(f"`{pipeline.name}` is refused, because signatures are required: {problem}")


def _problems(settings: Settings, pipeline: Pipeline, is_signed: IsSigned) -> Iterator[str]:
    releases = releases_of(pipeline)
    repository = pipeline.folder.parent
    numbers = [each.number for each in releases]
    if not releases or numbers != version_numbers(repository / pipeline.base):
        yield f"{repository / pipeline.base} has a version that is no release: build it again"
    for release in releases:
        if problem := _unsigned(release, is_signed):
            yield problem
        yield from _differences(pipeline, release, newest=release is releases[-1])
    for step in pipeline.models:
        strangers = set(version_numbers(repository / step)) - {release.steps.get(step) for release in releases}
        if strangers:
            yield f"{repository / step / str(min(strangers))} belongs to no release"
        yield from _strange_files(repository / step)
        if settings.profile is not None and (repository / step / "configs" / f"{settings.profile}.pbtxt").is_file():
            yield f"the profile `{settings.profile}` of `{step}` is in no manifest"
    if pipeline.release_of is not None:
        yield from _wrong_ensemble(pipeline, {each.name: each for each in releases}.get(pipeline.name))


def _unsigned(release: Release, is_signed: IsSigned) -> str | None:
    file = release.folder / SIGNATURE_NAME
    try:
        signature = base64.b64decode(file.read_bytes().strip(), validate=True)
    except FileNotFoundError:
        return f"release {release.number} has no signature {file}: `conch sign` makes one"
    except (OSError, binascii.Error):
        return f"{file} is no signature"
    if not is_signed(signature, _content(release)):
        return f"{file} is by none of the keys that are trusted, or of another manifest"
    return None


def _content(release: Release) -> bytes:
    return SIGNED_AS + (release.folder / MANIFEST_NAME).read_bytes()


def _differences(pipeline: Pipeline, release: Release, newest: bool) -> Iterator[str]:
    """What is not as a release's manifest says. The configurations of steps are those of the newest release, which all
    share."""
    repository = pipeline.folder.parent
    manifest = release.folder / MANIFEST_NAME
    said = (release.manifest.get("pipeline"), release.manifest.get("version"))
    if said != (pipeline.base, release.number):
        yield f"{manifest} is of another release, {said[0]} {said[1]}"
    folders = [release.folder, *(repository / step / str(version) for step, version in release.steps.items())]
    for folder in folders:
        if problem := problem_of(folder):
            yield problem
    for step, about in release.manifest["steps"].items():
        if sha256_of(repository / step / str(about["version"]) / MANIFEST_NAME) != about["manifest"]:
            yield f"the manifest of `{step}` {about['version']} is not the one that {manifest} names"
        if newest and _config_sha256(repository / step) != about["config"]:
            yield f"{repository / step / CONFIG} was changed after the build"
    if newest and _config_sha256(repository / pipeline.base) != release.manifest["config"]:
        yield f"{repository / pipeline.base / CONFIG} was changed after the build"


def _wrong_ensemble(pipeline: Pipeline, release: Release | None) -> Iterator[str]:
    """A release's ensemble must be what `conch build` writes of the release."""
    config = pipeline.folder / CONFIG
    said = as_written(config.read_text(encoding="utf-8")).partition("\n")[2]
    if release is None or said != release_config(release.folder / ENSEMBLE_FILE, release.name, release.steps):
        yield f"{config} is not what the release says"
    elif (pipeline.folder / RELEASE_FILE).read_bytes() != (release.folder / RELEASE_FILE).read_bytes():
        yield f"{pipeline.folder / RELEASE_FILE} is not what the release says"


def _strange_files(step: Path) -> Iterator[str]:
    """Triton takes libraries from a model's own folder."""
    for path in step.iterdir():
        if not path.is_dir() and path.name != CONFIG:
            yield f"{path} is in no manifest"


def _config_sha256(model: Path) -> str:
    return sha256_of_text(as_written((model / CONFIG).read_text(encoding="utf-8")))


def keys() -> ModuleType:
    """The module that needs the extra."""
    try:
        return importlib.import_module("conch_tools.releases.keys")
    except ImportError as problem:
        cure = "pip install -c constraints.txt -e '.[signing]'"
        raise SettingsError(f"signatures need the extra `signing`: {cure}") from problem
