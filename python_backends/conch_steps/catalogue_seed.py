"""What a build brings for a catalogue: the items, a vector for each, and which encoder made the vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conch_steps.catalogue_items import Item, read_json
from conch_steps.errors import ArtifactError, InvalidInput
from conch_steps.serving import StepModel

ITEMS_FILE, VECTORS_FILE, ENCODER_FILE = "catalogue.jsonl", "vectors.npy", "encoder.json"


@dataclass(frozen=True)
class Seed:
    """The built catalogue."""

    items: Sequence[Item]
    vectors: npt.NDArray[np.float32]
    """[items, dimensions], each of length one."""
    encoder: str
    """Tells encoders apart: vectors of two encoders cannot be compared."""
    digest: str
    """Tells seeds apart."""

    @classmethod
    def read(cls, folder: Path) -> Seed:
        """From a version folder. Raises ArtifactError for what is missing or does not fit together."""
        try:
            items = read_items(folder / ITEMS_FILE)
            vectors = np.load(folder / VECTORS_FILE)
            encoder = str(json.loads((folder / ENCODER_FILE).read_bytes())["encoder"])
        except (OSError, EOFError, ValueError, LookupError, TypeError, RecursionError) as problem:
            raise ArtifactError(f"the catalogue in {folder} cannot be read: {problem}: run `conch build`") from problem
        return cls.of(items, vectors, encoder)

    @classmethod
    def of(cls, items: Sequence[Item], vectors: npt.NDArray[np.float32], encoder: str) -> Seed:
        """Raises ArtifactError unless there is one vector an item."""
        if vectors.ndim != 2 or len(vectors) != len(items) or vectors.dtype != np.float32:
            raise ArtifactError(f"the catalogue has {len(items)} items but {vectors.dtype} vectors {vectors.shape}")
        digest = hashlib.sha256(encoder.encode())
        for item in items:
            digest.update(item.model_dump_json().encode())
        digest.update(vectors.tobytes())
        return cls(items, vectors, encoder, digest.hexdigest())

    def write(self, folder: Path) -> None:
        """The files that `read` takes."""
        lines = [json.dumps(item.model_dump(), ensure_ascii=False) for item in self.items]
        (folder / ITEMS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        np.save(folder / VECTORS_FILE, self.vectors)
        (folder / ENCODER_FILE).write_text(json.dumps({"encoder": self.encoder}) + "\n", encoding="utf-8")


SEED_FILES: Mapping[str, Callable[[StepModel], Seed]] = {ITEMS_FILE: lambda model: Seed.read(model.version_folder)}
"""The catalogue as its steps declare it: its three files are read together."""


def read_items(file: Path) -> list[Item]:
    """One JSON object a line. Raises ArtifactError naming the line that is no item or repeats an id."""
    items: dict[str, Item] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            item = read_json(Item, line, f"{file.name}, line {number}")
        except InvalidInput as problem:
            raise ArtifactError(str(problem)) from problem
        if item.id in items:
            raise ArtifactError(f"{file.name}, line {number}: the id `{item.id}` is there already")
        items[item.id] = item
    return list(items.values())
