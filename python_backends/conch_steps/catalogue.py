"""The catalogue as it is kept: a SQLite database that several processes share, and that survives a kill.

A build brings a catalogue file with a vector for each item, the seed. What is added and removed while serving is kept
here. The rule when both speak of one id: **run time wins**. An id that was added, replaced or removed at run time stays
as it was left, whatever a later build's file says of it; every other id follows the file, so new items appear, changed
ones change and dropped ones go. Deleting the database takes the catalogue back to the file.

Every change carries the revision that made it, removals as well, so a process that holds the catalogue in memory asks
for what is newer than what it has. Write-ahead logging with synchronous FULL: a change that was acknowledged is on the
disk. It needs a local file system, as SQLite's shared memory does not work over a network.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from conch_steps.catalogue_items import Change, Item, Outcome, in_words
from conch_steps.catalogue_seed import Seed
from conch_steps.errors import ModelConfigError, StoreFailed
from conch_steps.parameters import named
from conch_steps.serving import StepModel

Vector = npt.NDArray[np.float32]

STATE_VARIABLE = "CONCH_STATE"
NAME = named("catalogue", "the name of the catalogue's database")
STATE = named("state", f"a folder that can be written, unless the variable {STATE_VARIABLE} names one", optional=True)
BUSY_TIMEOUT_S = 10.0
FROM_FILE, FROM_RUN_TIME = "file", "run time"
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (
    one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, seed TEXT NOT NULL, encoder TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, item TEXT, vector BLOB, origin TEXT NOT NULL, revision INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS items_by_revision ON items (revision);
CREATE INDEX IF NOT EXISTS live_items ON items (id) WHERE item IS NOT NULL;
INSERT OR IGNORE INTO facts VALUES (1, 0, '', '');
"""
UPSERT = "INSERT OR REPLACE INTO items (id, item, vector, origin, revision) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Row:
    """One id as the catalogue has it."""

    id: str
    item: Item | None
    """None where it was removed."""
    vector: Vector | None
    """None where the item must be embedded anew, because the encoder changed."""
    revision: int


def database_file(model: StepModel) -> Path:
    """`<state>/<catalogue>.sqlite3`: config parameters `catalogue` and `state`, or the variable CONCH_STATE for that.

    Raises ModelConfigError when one of them is not given.
    """
    state = STATE.given(model) or os.environ.get(STATE_VARIABLE)
    if not state:
        raise ModelConfigError(
            f"model `{model.name}` keeps its catalogue in a folder that can be written: "
            f"set {STATE_VARIABLE}, or the config parameter `state`"
        )
    return Path(state) / f"{NAME.of(model)}.sqlite3"


class Catalogue:
    """An open database. One thread at a time."""

    def __init__(self, file: Path, seed: Seed) -> None:
        """Open or create `file` and bring it up to the seed. Raises StoreFailed, also for a file that is none."""
        self._file = file
        self._encoder = seed.encoder
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Two processes that switch a new file to write-ahead logging at once get "locked" whatever the timeout.
            with file.with_suffix(".lock").open("w") as lock, _translated(file):
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._database = sqlite3.connect(
                    file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
                )
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.executescript(SCHEMA)
                self._merge(seed)
        except OSError as problem:
            raise StoreFailed(file, f"its folder cannot be written ({problem.strerror})") from problem

    def close(self) -> None:
        """Close the file; what was acknowledged is in it."""
        self._database.close()

    def revision(self) -> int:
        """The newest revision. Raises StoreFailed when another build's encoder has taken the database over."""
        with _translated(self._file):
            return self._revision()

    def newer_than(self, revision: int) -> tuple[int, list[Row]]:
        """The newest revision, and the rows that changed after `revision`."""
        with self._transaction("DEFERRED"):
            newest = self._revision()
            rows = self._database.execute(
                "SELECT id, item, vector, revision FROM items WHERE revision > ?", (revision,)
            ).fetchall()
        return newest, [self._row(*row) for row in rows]

    def keep_vectors(self, rows: Sequence[Row], vectors: Mapping[str, Vector]) -> None:
        """Keep the vectors, by id, of rows that had none, unless a row has changed since."""
        with self._transaction("IMMEDIATE"):
            self._database.executemany(
                "UPDATE items SET vector = ? WHERE id = ? AND revision = ? AND vector IS NULL",
                [(vectors[row.id].tobytes(), row.id, row.revision) for row in rows],
            )

    def apply(self, changes: Sequence[Change], vectors: Mapping[str, Vector]) -> list[Outcome]:
        """All changes in their order, or none; `vectors` by the text that each item is embedded as.

        They share one revision. On return they are on the disk.
        """
        with self._transaction("IMMEDIATE"):
            before = self._revision()
            counts = [self._apply(change, vectors, before + 1) for change in changes]
            changed = any(count["added"] or count["replaced"] or count["removed"] for count in counts)
            revision = before + 1 if changed else before
            self._database.execute("UPDATE facts SET revision = ?", (revision,))
            return [Outcome(**count, revision=revision) for count in counts]

    def _apply(self, change: Change, vectors: Mapping[str, Vector], revision: int) -> dict[str, int]:
        counts = {"added": 0, "replaced": 0, "unchanged": 0, "removed": 0, "absent": 0}
        for item in change.add:
            known, wanted = self._stored(item.id), _text_of(item)
            if known == wanted:
                counts["unchanged"] += 1
                self._database.execute("UPDATE items SET origin = ? WHERE id = ?", (FROM_RUN_TIME, item.id))
                continue
            counts["added" if known is None else "replaced"] += 1
            vector = vectors[item.embedded_text].tobytes()
            self._database.execute(UPSERT, (item.id, wanted, vector, FROM_RUN_TIME, revision))
        for name in set(change.remove):
            if self._stored(name) is None:
                counts["absent"] += 1
                continue
            counts["removed"] += 1
            self._database.execute(UPSERT, (name, None, None, FROM_RUN_TIME, revision))
        (counts["items"],) = self._database.execute("SELECT count(*) FROM items WHERE item IS NOT NULL").fetchone()
        return counts

    def _stored(self, name: str) -> str | None:
        found = self._database.execute("SELECT item FROM items WHERE id = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def _merge(self, seed: Seed) -> None:
        with self._transaction("IMMEDIATE"):
            revision, known, encoder = self._database.execute("SELECT revision, seed, encoder FROM facts").fetchone()
            if known == seed.digest:
                return
            revision += 1
            stored = {
                name: (item, vector, origin)
                for name, item, vector, origin in self._database.execute("SELECT id, item, vector, origin FROM items")
            }
            for item, vector in zip(seed.items, seed.vectors, strict=True):
                wanted = (_text_of(item), vector.tobytes(), FROM_FILE)
                now = stored.pop(item.id, None)
                if now is None or (now[2] == FROM_FILE and now != wanted):
                    self._database.execute(UPSERT, (item.id, *wanted, revision))
            for name, (text, _, origin) in stored.items():
                if origin == FROM_FILE and text is not None:
                    self._database.execute(UPSERT, (name, None, None, FROM_FILE, revision))
            if encoder != seed.encoder:
                self._database.execute(
                    "UPDATE items SET vector = NULL, revision = ? WHERE origin = ? AND item IS NOT NULL",
                    (revision, FROM_RUN_TIME),
                )
            self._database.execute(
                "UPDATE facts SET revision = ?, seed = ?, encoder = ?", (revision, seed.digest, seed.encoder)
            )

    def _row(self, name: str, item: str | None, vector: bytes | None, revision: int) -> Row:
        try:
            read = None if item is None else Item.model_validate_json(item)
        except ValidationError as problem:
            raise StoreFailed(
                self._file, f"`{name}` is not an item of this build ({in_words(problem)}): replace or remove it"
            ) from problem
        return Row(name, read, None if vector is None else np.frombuffer(vector, dtype=np.float32), revision)

    def _revision(self) -> int:
        revision, encoder = self._database.execute("SELECT revision, encoder FROM facts").fetchone()
        if encoder != self._encoder:
            raise StoreFailed(
                self._file, "another server has brought it to another encoder: serve the same build, and start again"
            )
        return int(revision)

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        with _translated(self._file):
            self._database.execute(f"BEGIN {kind}")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")


def _text_of(item: Item) -> str:
    return json.dumps(item.model_dump(), ensure_ascii=False)


@contextlib.contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        # The class itself means a damaged file; a lock, a full disk and the like have classes of their own below it.
        damaged = type(problem) is sqlite3.DatabaseError
        cure = ": move it away, and the catalogue begins again as it was built" if damaged else ""
        raise StoreFailed(file, f"{problem}{cure}") from problem
