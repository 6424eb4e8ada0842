"""Move the version folders of one pipeline into the repository: all of them or none, at whatever moment we are killed.

A rename is one step for the file system, several are not, so their order tells the next build how far a killed one got.
The version of the pipeline's own folder, without which Triton does not serve it, is put aside first and replaced last,
and what was put aside of it is forgotten first: while it is there, the new build does not count.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

ASIDE, ARRIVING = ".old-", ".new-"
"""Before a version's number: what was there, and what comes in its place."""


def promote(staged: Mapping[str, Path], repository: Path) -> None:
    """Move each model's staged version folder to its place; the pipeline's own comes last in `staged`.

    Where one cannot be moved, all that were there before stay, and the error is raised on.
    """
    settle(list(staged), repository)
    try:
        for model, version in staged.items():
            # Copied where the staging repository is on another disk: not at the place where it would be served.
            shutil.move(version, repository / model / f"{ARRIVING}{version.name}")
        for model, version in reversed(list(staged.items())):
            _put_aside(repository / model / version.name)
        for model, version in staged.items():
            os.replace(repository / model / f"{ARRIVING}{version.name}", repository / model / version.name)
        *_, (own, version) = staged.items()
        # In one step: half removed, it would still say that the new build does not count.
        os.replace(repository / own / f"{ASIDE}{version.name}", repository / own / f"{ARRIVING}{version.name}")
    finally:
        settle(list(staged), repository)


def settle(models: Sequence[str], repository: Path) -> None:
    """End a promotion that was broken off: what was there before is there again, unless all that is new had its place.

    `models` ends with the pipeline's own.
    """
    for own in list((repository / models[-1]).glob(f"{ASIDE}*")):
        # Itself last, because it says that there is something to do.
        for model in models:
            if (repository / model / own.name).exists():
                _bring_back(repository / model / own.name)
    for model in models:
        for left in (*(repository / model).glob(f"{ARRIVING}*"), *(repository / model).glob(f"{ASIDE}*")):
            shutil.rmtree(left, ignore_errors=True)


def _put_aside(version: Path) -> None:
    """Of a version that is new, an empty folder says that none was there."""
    aside = version.with_name(f"{ASIDE}{version.name}")
    if version.exists():
        os.replace(version, aside)
    else:
        aside.mkdir()


def _bring_back(aside: Path) -> None:
    version = aside.with_name(aside.name.removeprefix(ASIDE))
    shutil.rmtree(version, ignore_errors=True)
    if any(aside.iterdir()):
        os.replace(aside, version)
    else:
        aside.rmdir()
