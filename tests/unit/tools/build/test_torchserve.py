"""An archive of TorchServe's is read by its manifest and unpacked nowhere but where it should be."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path

import pytest

from conch_tools.build import torchserve
from conch_tools.build.torchserve import Archive, BadArchive, require_image_handler
from torch_sources import write_archive

CONTENT = {"model.py": "code", "weights.pt": b"weights"}
NAMED = {"modelFile": "model.py", "serializedFile": "weights.pt"}


def test_what_the_manifest_names_is_read_and_unpacked(tmp_path: Path) -> None:
    archive = Archive.read(write_archive(tmp_path / "a.mar", {**CONTENT, "extra/notes.txt": "more"}, **NAMED))
    assert (archive.model_file, archive.serialized_file, archive.handler) == (
        "model.py",
        "weights.pt",
        "image_classifier",
    )
    archive.unpack(tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "weights.pt").read_bytes() == b"weights"
    assert (tmp_path / "unpacked" / "extra" / "notes.txt").read_text() == "more"


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"0": "cat", "1": "dog"}, ["cat", "dog"]),
        ({"1": ["n02", "dog"], "0": ["n01", "cat"]}, ["cat", "dog"]),
        ({"object_type_names": ["cat", "dog"]}, ["cat", "dog"]),
        (None, ["0", "1"]),
    ],
)
def test_classes_are_named_as_torchserve_names_them(tmp_path: Path, said: object, names: list[str]) -> None:
    extra = {} if said is None else {"index_to_name.json": json.dumps(said)}
    assert Archive.read(write_archive(tmp_path / "a.mar", {**CONTENT, **extra}, **NAMED)).class_names(2) == names


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    labels = {"index_to_name.json": json.dumps({"0": "cat"})}
    archive = Archive.read(write_archive(tmp_path / "a.mar", {**CONTENT, **labels}, **NAMED))
    with pytest.raises(BadArchive, match="has no name for class 1 of 2"):
        archive.class_names(2)


@pytest.mark.parametrize("labels", [["cat"], {"a": "cat"}, {"0": []}, {"0": 1}, {"0": "two\nlines"}])
def test_names_of_another_form_are_refused(tmp_path: Path, labels: object) -> None:
    content = {**CONTENT, "index_to_name.json": json.dumps(labels)}
    with pytest.raises(BadArchive, match=r"index_to_name\.json"):
        Archive.read(write_archive(tmp_path / "a.mar", content, **NAMED))


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("text_classifier", "has the handler text_classifier, which prepares texts by torchtext"),
        ("object_detector", "has the handler object_detector, whose code cannot be translated into steps. Give the"),
        ("my_handler.py", "has the handler my_handler.py, whose code cannot be translated"),
        ("", "has no handler, but image_classifier is needed"),
    ],
)
def test_a_handler_whose_work_no_step_does_is_refused_by_name(tmp_path: Path, handler: str, said: str) -> None:
    archive = Archive(tmp_path / "a.mar", handler, None, "model.py", None)
    with pytest.raises(BadArchive, match=said):
        require_image_handler(archive)


@pytest.mark.parametrize("name", ["../outside.py", "/outside.py", "deep/../../outside.py", "..\\outside.py"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadArchive, match="which would be written outside of its folder"):
        Archive.read(write_archive(tmp_path / "a.mar", {**CONTENT, name: "code"}, **NAMED))


def test_a_link_is_refused(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "a.mar", CONTENT, **NAMED)
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(BadArchive, match="'link', a link"):
        Archive.read(file)


def test_what_swells_like_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchserve, "ALWAYS_FINE_BYTES", 1 << 20)
    file = write_archive(tmp_path / "a.mar", {**CONTENT, "zeros": bytes(8 << 20)}, **NAMED)
    with pytest.raises(BadArchive, match=r"would become 83.* when it is unpacked: that is no model"):
        Archive.read(file)


def test_an_archive_that_became_another_is_refused_when_it_is_unpacked(tmp_path: Path) -> None:
    archive = Archive.read(write_archive(tmp_path / "a.mar", CONTENT, **NAMED))
    write_archive(tmp_path / "b.mar", {**CONTENT, "../outside.py": "code"}, **NAMED)
    os.replace(tmp_path / "b.mar", tmp_path / "a.mar")
    with pytest.raises(BadArchive, match="outside"):
        archive.unpack(tmp_path / "unpacked")
    assert not list((tmp_path / "unpacked").iterdir())


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchserve, "MOST_FILES", 2)
    with pytest.raises(BadArchive, match="holds 3 files"):
        Archive.read(write_archive(tmp_path / "a.mar", CONTENT, **NAMED))


@pytest.mark.parametrize(
    ("content", "model", "said"),
    [
        ({}, {"serializedFile": "weights.pt"}, "lacks weights.pt, which its MAR-INF/MANIFEST.json names as its serial"),
        (CONTENT, {"modelFile": "other.py"}, "lacks other.py"),
        (CONTENT, {"modelFile": ""}, "model.modelFile must be a name"),
    ],
)
def test_a_manifest_that_names_what_is_not_there_is_refused(
    tmp_path: Path, content: dict[str, str | bytes], model: dict[str, str], said: str
) -> None:
    with pytest.raises(BadArchive, match=said):
        Archive.read(write_archive(tmp_path / "a.mar", content, **model))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.mar"
    file.write_bytes(b"\x1f\x8b no zip file")
    with pytest.raises(BadArchive, match="is no archive as torch-model-archiver writes it by default, a zip file"):
        Archive.read(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", "[]")
    with pytest.raises(BadArchive, match="describes no model"):
        Archive.read(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", "{")
    with pytest.raises(BadArchive, match="is no JSON"):
        Archive.read(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.py", "")
    with pytest.raises(BadArchive, match=r"holds no MAR-INF/MANIFEST.json, so torch-model-archiver"):
        Archive.read(file)


def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    file = write_archive(tmp_path / "a.mar", {**CONTENT, "weights.pt": os.urandom(1000)}, **NAMED)
    content = bytearray(file.read_bytes())
    place = content.index(b"weights.pt") + 100
    content[place : place + 100] = bytes(100)
    file.write_bytes(content)
    with pytest.raises(BadArchive, match="cannot be unpacked"):
        Archive.read(file).unpack(tmp_path / "unpacked")
