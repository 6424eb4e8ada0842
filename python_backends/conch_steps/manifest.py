"""Checks a version folder against its manifest.json, so that no file changed after the build is served.

`conch build` writes `<version>/manifest.json` last; its `files` are `{"model.onnx": {"sha256": "...",
"bytes": 123}, ...}`. A folder without a manifest was not built by Conch and is served as it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from conch_steps.errors import ArtifactError

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
"""Beside the manifest of a release that somebody signed; no manifest lists it."""
READ_BYTES = 1 << 20
"""Files are hashed in pieces of this size: a model can be larger than the memory of its checker."""

CURE = "build it again with `conch build`"


def verify_manifest(version_folder: Path, content: bool = True) -> None:
    """Compare every file that the folder's manifest lists with its recorded size and SHA-256.

    Without `content` no file is read: all but the SHA-256 is compared. Raises ArtifactError, naming the first file that
    is missing or differs, or an unreadable manifest.
    """
    manifest = version_folder / MANIFEST_NAME
    if not manifest.exists():
        return
    for name, recorded in listed_files(manifest).items():
        _verify(version_folder / name, recorded, manifest, content)


def listed_files(manifest: Path) -> dict[str, dict[str, Any]]:
    """What a manifest records of each file, by name. Raises ArtifactError for a manifest that cannot be read."""
    try:
        files = json.loads(manifest.read_bytes())["files"]
        for name, recorded in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not isinstance(recorded["sha256"], str):
                raise ValueError(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ArtifactError(
            f"{manifest} does not list files of its folder as a name with sha256 and bytes: {CURE}"
        ) from exc
    return dict(files)


def _verify(file: Path, recorded: dict[str, Any], manifest: Path, content: bool) -> None:
    if not file.is_file():
        raise ArtifactError(f"{file} is listed in {MANIFEST_NAME} but missing: {CURE}")
    size = file.stat().st_size
    if size != recorded.get("bytes", size):
        raise ArtifactError(f"{file} has {size} bytes, {MANIFEST_NAME} lists {recorded['bytes']}: {CURE}")
    if not content:
        return
    digest = sha256_of(file)
    if digest != recorded["sha256"]:
        raise ArtifactError(
            f"{file} is not the file that was built, its sha256 {digest} differs from the one in {manifest}: {CURE}"
        )


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
