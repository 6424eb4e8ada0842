"""An archive of TorchServe's (.mar): what its manifest says, and how it is unpacked without harm.

The form is torch-model-archiver's: a zip file with MAR-INF/MANIFEST.json, the serialized model, perhaps the code of the
network, a handler and extra files. A handler is code that TorchServe runs before and after the model; what it does
cannot be read out of it, so only that of image_classifier, which is known, is stood in for.

No more than the standard library is imported, because a process apart starts with it.
"""

from __future__ import annotations

import json
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

ENDING = ".mar"
MANIFEST = "MAR-INF/MANIFEST.json"
LABELS = "index_to_name.json"
IMAGE_HANDLER = "image_classifier"
TEXT_HANDLER = "text_classifier"
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError, EOFError)
"""What zipfile raises of one that is none, is cut off, is encrypted or packed in a way that it does not know."""
MOST_FILES = 10_000
MOST_BYTES = 16 << 30
"""Of everything that an archive holds."""
MOST_TEXT_BYTES = 16 << 20
"""Of a JSON file in it."""
SWELLS_BY, ALWAYS_FINE_BYTES = 100, 256 << 20
"""An archive that becomes so many times larger, and more than this, is no model: weights hardly compress."""


class BadArchive(Exception):
    """A sentence for the user."""


@dataclass(frozen=True)
class Archive:
    """One whose entries are sound, not unpacked yet."""

    file: Path
    handler: str
    serialized_file: str | None
    model_file: str | None
    """Python code that defines the network; None for TorchScript."""
    labels: Mapping[int, str] | None
    """Names of classes by their index; None where no index_to_name.json is there."""

    @classmethod
    def read(cls, file: Path) -> Archive:
        """Raises BadArchive saying what the file is instead."""
        try:
            with zipfile.ZipFile(file) as archive:
                _require_sound(file, archive.infolist())
                manifest = _json_of(file, archive, MANIFEST)
                names = archive.namelist()
                labels = _labels_of(file, _json_of(file, archive, LABELS)) if LABELS in names else None
        except DAMAGED as problem:
            raise BadArchive(
                f"{file} is no archive as torch-model-archiver writes it by default, a zip file: {problem}"
            ) from problem
        model = manifest.get("model") if isinstance(manifest, dict) else None
        if not isinstance(model, dict):
            raise BadArchive(f"{file}: {MANIFEST} describes no model")
        named = {key: model.get(key) for key in ("serializedFile", "modelFile", "handler")}
        for key, value in named.items():
            if value is not None and (not isinstance(value, str) or not value):
                raise BadArchive(f"{file}: {MANIFEST}: model.{key} must be a name")
        for key in ("serializedFile", "modelFile"):
            if named[key] is not None and named[key] not in names:
                raise BadArchive(f"{file} lacks {named[key]}, which its {MANIFEST} names as its {key}")
        return cls(file, named["handler"] or "", named["serializedFile"], named["modelFile"], labels)

    def unpack(self, folder: Path) -> None:
        """Into a folder that is not there yet. Raises BadArchive for one that is damaged."""
        folder.mkdir()
        try:
            with zipfile.ZipFile(self.file) as archive:
                # Asked again: it may be another file by now.
                _require_sound(self.file, archive.infolist())
                archive.extractall(folder)
        except DAMAGED as problem:
            raise BadArchive(f"{self.file} cannot be unpacked: {problem}") from problem

    def class_names(self, classes: int) -> list[str]:
        """By index_to_name.json, or their numbers, as TorchServe names them. Raises BadArchive where one has none."""
        if self.labels is None:
            return [str(index) for index in range(classes)]
        if missing := [index for index in range(classes) if index not in self.labels]:
            raise BadArchive(f"{self.file}: {LABELS} has no name for class {missing[0]} of {classes}")
        return [self.labels[index] for index in range(classes)]


def require_image_handler(archive: Archive) -> None:
    """Raises BadArchive for a handler whose work no step does."""
    if archive.handler == IMAGE_HANDLER:
        return
    if archive.handler == TEXT_HANDLER:
        why = (
            "which prepares texts by torchtext, a library that has ended: give a classifier in Hugging Face's form, as "
            "a folder"
        )
    else:
        why = (
            "whose code cannot be translated into steps. Give the network alone, as TorchScript (.pt) or as "
            "module:PACKAGE.MODULE:FUNCTION, and say in [image] what the handler does to an image"
        )
    named = f"the handler {archive.handler}" if archive.handler else "no handler"
    raise BadArchive(f"{archive.file} has {named}, {why if archive.handler else f'but {IMAGE_HANDLER} is needed'}")


def _require_sound(file: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raises BadArchive for an entry that would land elsewhere, and for more than a model can be.

    The sizes are those that the archive states; zipfile reads no further than that.
    """
    if len(entries) > MOST_FILES:
        raise BadArchive(f"{file} holds {len(entries)} files, more than the {MOST_FILES} that are unpacked")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename:
            raise BadArchive(f"{file} holds {entry.filename!r}, which would be written outside of its folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadArchive(f"{file} holds {entry.filename!r}, a link: an archive holds files only")
    size, packed = sum(entry.file_size for entry in entries), file.stat().st_size
    if size > MOST_BYTES or size > max(ALWAYS_FINE_BYTES, SWELLS_BY * packed):
        raise BadArchive(f"{file} has {packed} bytes and would become {size} when it is unpacked: that is no model")


def _json_of(file: Path, archive: zipfile.ZipFile, name: str) -> Any:
    try:
        entry = archive.getinfo(name)
    except KeyError as problem:
        raise BadArchive(f"{file} holds no {name}, so torch-model-archiver has not written it") from problem
    if entry.file_size > MOST_TEXT_BYTES:
        raise BadArchive(f"{file}: {name} has {entry.file_size} bytes, more than such a file can need")
    try:
        return json.loads(archive.read(entry))
    except (ValueError, RecursionError) as problem:
        raise BadArchive(f"{file}: {name} is no JSON: {problem}") from problem


def _labels_of(file: Path, said: Any) -> dict[int, str]:
    """What index_to_name.json maps: an index to a name, or to a list whose last is the name."""
    if isinstance(said, dict) and isinstance(said.get("object_type_names"), list):
        said = dict(enumerate(said["object_type_names"]))
    try:
        found = {int(key): value[-1] if isinstance(value, list) else value for key, value in said.items()}
    except (AttributeError, ValueError, IndexError) as problem:
        raise BadArchive(f"{file}: {LABELS} must map the index of each class to its name") from problem
    if wrong := [key for key, value in found.items() if not isinstance(value, str) or not value.isprintable()]:
        raise BadArchive(f"{file}: {LABELS} names class {wrong[0]} {found[wrong[0]]!r}: a label is a text in one line")
    return found
