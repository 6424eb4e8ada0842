"""Which of a model's files and folders this user may not read: a finding of its own, nothing for other rules to judge.

What neither Triton nor this project reads, a text beside the versions say, does not matter.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

LET_READ = "let the user that serves read it (chmod a+rX), or move it out of the model repository"
"""The cure."""


def unreadable_in(folder: Path, names: Collection[str]) -> frozenset[Path]:
    """What may not be read of the model in `folder`: the folder, its own files of these names, and its folders
    (versions, profiles, warmup) with all that is in them; of a folder that may not be read, the folder alone."""
    if not may_be_read(folder):
        return frozenset((folder,))
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    read = (path for path in visible if path.name in names or path.is_symlink() or os.path.isdir(path))
    return frozenset(refused for path in read for refused in _refused(path))


def dead_links_in(folder: Path) -> list[Path]:
    """The links that lie in a folder and lead nowhere, or in a circle."""
    return sorted(
        path for path in folder.iterdir() if path.is_symlink() and may_be_read(path) and not os.path.exists(path)
    )


def may_be_read(path: Path) -> bool:
    """Whether this user may read a file, or list a folder and read what is in it. True of what is not there."""
    try:
        kind = os.R_OK | os.X_OK if stat.S_ISDIR(path.stat().st_mode) else os.R_OK
    except PermissionError:
        return False
    except OSError:
        return True
    return os.access(path, kind, effective_ids=True)


def _refused(path: Path) -> Iterator[Path]:
    """What may not be read of a file, or of a folder with all below it; links to folders below it are not followed."""
    if not may_be_read(path):
        yield path
    elif path.is_dir():
        for each in path.iterdir():
            yield from () if each.is_symlink() and os.path.isdir(each) else _refused(each)
