"""The catalogue on disk: changes, the rule between file and run time, and what other processes see."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest

from conch_steps.catalogue import Catalogue, database_file
from conch_steps.catalogue_items import Change, Item
from conch_steps.catalogue_seed import Seed
from conch_steps.errors import ArtifactError, ModelConfigError, StoreFailed
from conch_steps.serving import StepModel


def item(name: str, title: str = "Lamp") -> Item:
    return Item(id=name, title=title, text="It glows.", category="desk", price=9.0, in_stock=True, year=2024)


def seed(*items: Item, encoder: str = "mini") -> Seed:
    return Seed.of(items, np.array([vector_of(each, encoder) for each in items], dtype=np.float32), encoder)


def vector_of(each: Item, encoder: str = "mini") -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([len(each.title), len(encoder)], dtype=np.float32)


def add(catalogue: Catalogue, *items: Item, encoder: str = "mini") -> dict[str, int]:
    vectors = {each.embedded_text: vector_of(each, encoder) for each in items}
    return catalogue.apply([Change(add=items)], vectors)[0].model_dump()


def remove(catalogue: Catalogue, *ids: str) -> dict[str, int]:
    return catalogue.apply([Change(remove=ids)], {})[0].model_dump()


def held(catalogue: Catalogue) -> dict[str, str]:
    """Titles of the items by id."""
    return {row.id: row.item.title for row in catalogue.newer_than(0)[1] if row.item is not None}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "shop.sqlite3"


FIRST = seed(item("lamp-a"), item("lamp-b"))


def test_a_first_start_takes_the_file(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    assert held(catalogue) == {"lamp-a": "Lamp", "lamp-b": "Lamp"}
    assert catalogue.revision() == 1
    _, rows = catalogue.newer_than(0)
    assert all(row.vector is not None and row.vector.tolist() == [4, 4] for row in rows)


def test_what_a_change_did_is_counted(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    outcome = add(catalogue, item("lamp-a"), item("lamp-b", "New"), item("lamp-c"))
    counts = {"added": 1, "replaced": 1, "unchanged": 1, "removed": 0, "absent": 0}
    assert outcome == {**counts, "items": 3, "revision": 2}
    outcome = remove(catalogue, "lamp-c", "lamp-d")
    counts = {"added": 0, "replaced": 0, "unchanged": 0, "removed": 1, "absent": 1}
    assert outcome == {**counts, "items": 2, "revision": 3}


def test_asking_for_the_same_again_changes_nothing_more(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    add(catalogue, item("lamp-c"))
    remove(catalogue, "lamp-a")
    revision = catalogue.revision()
    assert add(catalogue, item("lamp-c"))["unchanged"] == 1
    assert remove(catalogue, "lamp-a")["absent"] == 1
    assert catalogue.revision() == revision


def test_changes_of_one_request_are_made_together_or_not_at_all(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    good, without_vector = Change(add=(item("lamp-c"),)), Change(add=(item("lamp-d", "No vector"),))
    with pytest.raises(KeyError):
        catalogue.apply([good, without_vector], {item("lamp-c").embedded_text: vector_of(item("lamp-c"))})
    assert held(catalogue) == {"lamp-a": "Lamp", "lamp-b": "Lamp"}
    assert catalogue.revision() == 1


def test_another_process_sees_what_is_newer_than_what_it_has(file: Path) -> None:
    writer, reader = Catalogue(file, FIRST), Catalogue(file, FIRST)
    seen, _ = reader.newer_than(0)
    add(writer, item("lamp-c"))
    remove(writer, "lamp-a")
    assert reader.revision() == seen + 2
    newest, rows = reader.newer_than(seen)
    assert {row.id: row.item is not None for row in rows} == {"lamp-c": True, "lamp-a": False}
    assert reader.newer_than(newest) == (newest, [])


def test_a_start_with_the_same_file_changes_nothing(file: Path) -> None:
    first = Catalogue(file, FIRST)
    add(first, item("lamp-c"))
    revision = first.revision()
    first.close()
    assert Catalogue(file, FIRST).revision() == revision


def test_a_new_file_changes_what_was_left_alone_and_nothing_that_was_touched_at_run_time(file: Path) -> None:
    names = ("left", "changed", "dropped", "replaced", "removed", "removed-and-changed", "confirmed")
    catalogue = Catalogue(file, seed(*map(item, names)))
    add(catalogue, item("replaced", "By hand"), item("added", "By hand"), item("confirmed"))
    remove(catalogue, "removed", "removed-and-changed")
    before = catalogue.revision()
    catalogue.close()
    new = seed(
        item("left"),
        item("changed", "From file"),
        item("replaced", "From file"),
        item("removed"),
        item("removed-and-changed", "From file"),
        item("added", "From file"),
        item("new", "From file"),
    )
    catalogue = Catalogue(file, new)
    assert held(catalogue) == {
        "left": "Lamp",
        "changed": "From file",
        "replaced": "By hand",
        "added": "By hand",
        "new": "From file",
        "confirmed": "Lamp",
    }
    _, rows = catalogue.newer_than(before)
    assert {row.id for row in rows} == {"changed", "dropped", "new"}


def test_what_the_file_dropped_comes_back_with_the_file(file: Path) -> None:
    for items in ((item("lamp-a"), item("lamp-b")), (item("lamp-a"),), (item("lamp-a"), item("lamp-b", "Again"))):
        catalogue = Catalogue(file, seed(*items))
        assert held(catalogue) == {each.id: each.title for each in items}
        catalogue.close()


def test_with_another_encoder_run_time_items_wait_for_new_vectors(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    add(catalogue, item("lamp-c"))
    catalogue.close()
    catalogue = Catalogue(file, seed(item("lamp-a"), item("lamp-b"), encoder="large"))
    _, rows = catalogue.newer_than(0)
    (waiting,) = [row for row in rows if row.vector is None]
    assert (waiting.id, waiting.item) == ("lamp-c", item("lamp-c"))
    catalogue.keep_vectors([waiting], {"lamp-c": vector_of(item("lamp-c"), "large")})
    assert all(row.vector is not None and row.vector.tolist() == [4, 5] for row in catalogue.newer_than(0)[1])


def test_a_vector_for_what_has_changed_since_is_not_kept(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    add(catalogue, item("lamp-c"))
    large = Catalogue(file, seed(item("lamp-a"), encoder="large"))
    (waiting,) = [row for row in large.newer_than(0)[1] if row.item is not None and row.vector is None]
    add(large, item("lamp-c", "Newer"), encoder="large")
    large.keep_vectors([waiting], {"lamp-c": vector_of(item("lamp-c"), "large")})
    (row,) = [row for row in large.newer_than(0)[1] if row.id == "lamp-c"]
    assert row.vector is not None
    assert row.vector.tolist() == [5, 5]


def test_a_server_of_another_encoder_refuses_what_it_cannot_compare(file: Path) -> None:
    old = Catalogue(file, FIRST)
    Catalogue(file, seed(item("lamp-a"), encoder="large"))
    for use in (old.revision, lambda: old.newer_than(0), lambda: remove(old, "lamp-a")):
        with pytest.raises(StoreFailed, match="another encoder"):
            use()


def test_writers_at_once_lose_no_change(file: Path) -> None:
    start = Barrier(4)

    def write(number: int) -> None:
        start.wait()
        catalogue = Catalogue(file, FIRST)
        for turn in range(10):
            add(catalogue, item(f"lamp-{number}-{turn}"))

    threads = [Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    catalogue = Catalogue(file, FIRST)
    assert len(held(catalogue)) == 42
    assert catalogue.revision() == 41


def test_every_commit_waits_for_the_disk(file: Path) -> None:
    catalogue = Catalogue(file, FIRST)
    pragmas = ("journal_mode", "synchronous", "busy_timeout")
    (mode,), (level,), (wait_ms,) = (catalogue._database.execute(f"PRAGMA {each}").fetchone() for each in pragmas)
    assert (mode, level, wait_ms) == ("wal", 2, 10_000)


@pytest.mark.parametrize("content", [b"this is no database at all, but long enough to be taken for one" * 20])
def test_a_file_that_is_no_database_is_named(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(StoreFailed, match=r"shop\.sqlite3: file is not a database: move it away") as failure:
        Catalogue(file, FIRST)
    assert isinstance(failure.value.__cause__, sqlite3.Error)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StoreFailed, match="its folder cannot be written"):
        Catalogue(tmp_path / "state" / "shop.sqlite3", FIRST)


def test_the_database_is_where_the_model_or_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONCH_STATE", raising=False)
    with pytest.raises(ModelConfigError, match="set CONCH_STATE"):
        database_file(StepModel("m", Path(), {"catalogue": "shop"}))
    monkeypatch.setenv("CONCH_STATE", "/var/lib/conch")
    assert database_file(StepModel("m", Path(), {"catalogue": "shop"})) == Path("/var/lib/conch/shop.sqlite3")
    own = StepModel("m", Path(), {"catalogue": "shop", "state": "/data"})
    assert database_file(own) == Path("/data/shop.sqlite3")
    with pytest.raises(ModelConfigError, match="`catalogue`"):
        database_file(StepModel("m", Path(), {}))


def written(folder: Path, lines: Sequence[str]) -> Path:
    FIRST.write(folder)
    (folder / "catalogue.jsonl").write_text("\n".join(lines))
    return folder


def test_a_seed_is_read_as_it_was_written(tmp_path: Path) -> None:
    FIRST.write(tmp_path)
    read = Seed.read(tmp_path)
    assert (read.items, read.encoder, read.digest) == (list(FIRST.items), "mini", FIRST.digest)
    np.testing.assert_array_equal(read.vectors, FIRST.vectors)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{}"], r"catalogue\.jsonl, line 1"),
        ([item("lamp-a").model_dump_json()] * 2, "line 2: the id `lamp-a` is there already"),
        ([item("lamp-a").model_dump_json()], "1 items but float32 vectors"),
    ],
)
def test_a_seed_that_does_not_fit_together_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        Seed.read(written(tmp_path, lines))


def test_a_seed_that_is_missing_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `conch build`"):
        Seed.read(tmp_path)
