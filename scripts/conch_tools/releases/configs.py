"""What releases change in configurations: lines of ours in files that are somebody else's, and whole files of ours.

A step that several releases need is told once to load every version that is there. An ensemble that is pinned says
which versions. Both are edits of the text, so that its comments stay, and `as_written` takes them out again: they are
no change of what was built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format

from conch_tools.check.pbtxt import marks, read_config
from conch_tools.errors import RepositoryError
from conch_tools.files import write_whole

_OURS = "  # of releases: conch writes this line\n"
_ALL_VERSIONS = f"version_policy: {{ all {{}} }}{_OURS}"
_ONE_VERSION = re.compile(
    rf"^version_policy: \{{ specific \{{ versions: \[ (\d+) \] \}} \}}{re.escape(_OURS)}", re.MULTILINE
)
_LATEST = "-1"


def as_written(text: str) -> str:
    """A configuration without what releases changed in it."""
    if pinned_release(text) is not None:
        text = _with_versions(_ONE_VERSION.sub("", text), {})
    return text.replace(_ALL_VERSIONS, "")


def pinned_release(text: str) -> int | None:
    """The number of the release that an ensemble is pinned to; None while it serves the latest."""
    found = _ONE_VERSION.search(text)
    return int(found[1]) if found else None


def require_no_policy(file: Path) -> None:
    """Raise RepositoryError where a step keeps versions out that releases need."""
    if read_config(file).version_policy.WhichOneof("policy_choice") not in (None, "all"):
        raise RepositoryError(
            f"{file}: its version_policy keeps versions out that releases need: write `version_policy: {{ all {{}} }}`"
        )


def allow_all_versions(file: Path) -> None:
    """Have a step's every version loaded. Raises RepositoryError where it says something else about versions."""
    require_no_policy(file)
    if not read_config(file).version_policy.HasField("all"):
        write_whole(file, _ALL_VERSIONS + file.read_text(encoding="utf-8"))


def require_latest(file: Path) -> None:
    """Raise RepositoryError unless an ensemble is served as its latest release, but for a pin of ours."""
    if is_pinned(file):
        return
    config = read_config(file)
    if config.version_policy.WhichOneof("policy_choice") is not None:
        raise RepositoryError(f"{file}: it has a version_policy of its own: take it out, releases need another")
    for step in config.ensemble_scheduling.step:
        if step.model_version != int(_LATEST):
            raise RepositoryError(
                f"{file}: it wants version {step.model_version} of `{step.model_name}`: write `model_version: -1`, "
                "and let `conch load --version` pin a release"
            )


def pin(file: Path, number: int, steps: Mapping[str, int]) -> None:
    """Have an ensemble served as one release. Raises RepositoryError where it says something else about versions."""
    require_latest(file)
    text = as_written(file.read_text(encoding="utf-8"))
    line = f"version_policy: {{ specific {{ versions: [ {number} ] }} }}{_OURS}"
    write_whole(file, line + _with_versions(text, steps))


def is_pinned(file: Path) -> bool:
    """Whether an ensemble is held at one release."""
    return pinned_release(file.read_text(encoding="utf-8")) is not None


def unpin(file: Path) -> None:
    """Have an ensemble served as its latest release again."""
    if is_pinned(file):
        write_whole(file, as_written(file.read_text(encoding="utf-8")))


def release_config(ensemble: Path, name: str, steps: Mapping[str, int]) -> str:
    """The configuration of an ensemble that serves one release under its number."""
    config = read_config(ensemble)
    config.name = name
    config.ClearField("version_policy")
    for step in config.ensemble_scheduling.step:
        step.model_version = steps.get(step.model_name, int(_LATEST))
    return str(text_format.MessageToString(config))


def _with_versions(text: str, steps: Mapping[str, int]) -> str:
    """An ensemble's configuration with the versions of these steps, and the latest of all others."""
    lines = text.splitlines(keepends=True)
    # Backwards, because a number that grows moves what stands behind it.
    for step in reversed(marks(text).at("ensemble_scheduling").fields.get("step", ())):
        mark = step.at("model_version")
        if mark is step or mark.value is None:
            continue
        wanted = str(steps.get(step.at("model_name").value or "", _LATEST))
        head, tail = lines[mark.line - 1][: mark.column - 1], lines[mark.line - 1][mark.column - 1 :]
        lines[mark.line - 1] = head + re.sub(r"-?\d+", wanted, tail, count=1)
    return "".join(lines)
