"""Rules about what a build recorded: the files of a version folder are those that were built.

Only models whose backend is one of Conch's are looked at, because others do not read manifest.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conch_steps.errors import ArtifactError
from conch_steps.manifest import MANIFEST_NAME, listed_files, verify_manifest
from conch_tools.check.findings import Place, Problem, Severity, listed
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.served import build_of, clause, is_ours


@dataclass(frozen=True)
class Built:
    """A version folder with a manifest."""

    model: Model
    folder: Path
    hashed: bool

    @property
    def manifest(self) -> Path:
        """The file that lists the others."""
        return self.folder / MANIFEST_NAME


def built(repository: Repository) -> Iterator[Built]:
    """Every served version that a backend of ours compares with its manifest, and whose files may be read."""
    for model in repository.readable:
        if is_ours(model):
            for number in model.readable_versions:
                folder = model.version_folder(number)
                if (folder / MANIFEST_NAME).exists():
                    yield Built(model, folder, repository.hashed)


MANIFESTS = Rulebook[Built](built)


@MANIFESTS.rule("MAN001", Severity.ERROR)
def not_as_built(version: Built) -> Iterator[Problem]:
    """A version folder is not as it was built.

    A backend of ours compares every file that manifest.json lists with the size and SHA-256 recorded there, and does
    not load a model whose file is missing or was changed since, or whose manifest it cannot read.

    Bad in `sentiment_labels/1/manifest.json`:

        "bytes": 17,

    Good:

        "bytes": 18,
    """
    try:
        verify_manifest(version.folder, content=version.hashed)
    except ArtifactError as problem:
        cure = f"{build_of(version.model)}, or remove {MANIFEST_NAME} if you put the files there yourself"
        yield Problem(Place(version.manifest), clause(problem, version.model, version.folder), cure)


@MANIFESTS.rule("MAN002", Severity.WARNING)
def file_not_recorded(version: Built) -> Iterator[Problem]:
    """A version folder holds files that its manifest does not list.

    Nothing tells where they come from, and nothing notices when they change; the next build drops them.

    Bad in `sentiment_labels/1/manifest.json`:

        "files": {}

    Good:

        "files": {
          "labels.txt": {
            "bytes": 18,
            "sha256": "45ff43802510f9fdc16923bc42cce04f7bd1d0b679c257e0d45608d177d75461"
          }
        }
    """
    try:
        recorded = listed_files(version.manifest)
    except ArtifactError:
        return
    present = (path.name for path in version.folder.iterdir() if not path.name.startswith((".", "__")))
    strangers = sorted(set(present) - {MANIFEST_NAME} - {name.split("/")[0] for name in recorded})
    if strangers:
        cure = "remove what the model does not need, or build it with what it needs"
        yield Problem(Place(version.manifest), f"{listed(strangers)} not listed in {MANIFEST_NAME}", cure)
