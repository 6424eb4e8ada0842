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

from conch_tools.pipelines import FIRST_VERSION

ASIDE, ARRIVING = f".old-{FIRST_VERSION}", f".new-{FIRST_VERSION}"


def promote(staged: Mapping[str, Path], repository: Path) -> None:
    """Move each model's staged version folder to its place; the pipeline's own comes last in `staged`.

    Where one cannot be moved, all that were there before stay, and the error is raised on.
    """
    settle(list(staged), repository)
    try:
        for model, version in staged.items():
            # Copied where the staging repository is on another disk: not at the place where it would be served.
            shutil.move(version, repository / model / ARRIVING)
        for model in reversed(list(staged)):
            if (repository / model / FIRST_VERSION).exists():
                os.replace(repository / model / FIRST_VERSION, repository / model / ASIDE)
        for model in staged:
            os.replace(repository / model / ARRIVING, repository / model / FIRST_VERSION)
        *_, own = staged
        _forget(repository / own)
    finally:
        settle(list(staged), repository)


def settle(models: Sequence[str], repository: Path) -> None:
    """End a promotion that was broken off: what was there before is there again, unless all that is new had its place.

    `models` ends with the pipeline's own.
    """
    if (repository / models[-1] / ASIDE).exists():
        # Itself last, because it says that there is something to do.
        for model in models:
            if (repository / model / ASIDE).exists():
                shutil.rmtree(repository / model / FIRST_VERSION, ignore_errors=True)
                os.replace(repository / model / ASIDE, repository / model / FIRST_VERSION)
    for model in models:
        shutil.rmtree(repository / model / ARRIVING, ignore_errors=True)
        shutil.rmtree(repository / model / ASIDE, ignore_errors=True)


def _forget(folder: Path) -> None:
    """What was put aside, in one step: half removed, it would still say that the new build does not count."""
    if (folder / ASIDE).exists():
        os.replace(folder / ASIDE, folder / ARRIVING)
