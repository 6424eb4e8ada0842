"""What a source does not tell is taken from its user, written down openly, and refused where the source tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conch_tools.build.torchvision_images import SETTINGS
from conch_tools.errors import SettingsError
from conch_tools.new.told import assumed, class_names, preprocessing_in, tables_of
from conch_tools.pipelines import Image, Pipeline, Sample, Source, Table, Task

SCRIPTED, OF_HUB = Source(file=Path("flowers.pt")), Source(hub="owner/name")
NAMES = ["daisy", "rose, red"]


def test_names_come_from_the_option_itself(tmp_path: Path) -> None:
    assert class_names("daisy, rose,tulip,") == ["daisy", "rose", "tulip"]
    assert class_names("") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "daisy\n\nrose, red\n"),
        ("labels.json", json.dumps(NAMES)),
        ("id2label.json", json.dumps({"0": "daisy", "1": "rose, red"})),
        ("index_to_name.json", json.dumps({"1": ["n01", "rose, red"], "0": ["n00", "daisy"]})),
    ],
)
def test_names_come_from_a_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert class_names(str(tmp_path / name)) == NAMES


@pytest.mark.parametrize("content", ["{", "3", '{"1": "daisy"}'])
def test_a_file_that_names_no_classes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(SettingsError, match="must be a list of names, or map 0, 1"):
        class_names(str(tmp_path / "labels.json"))


def test_a_file_that_is_not_there_is_no_name() -> None:
    with pytest.raises(SettingsError, match=r"--labels flowers\.txt: there is no such file"):
        class_names("flowers.txt")


def test_preprocessing_comes_from_a_file_without_what_toml_cannot_say(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"do_resize": False, "crop_size": None}))
    assert preprocessing_in(str(file)) == {"do_resize": False}
    for content in ("{", "[]"):
        file.write_text(content)
        with pytest.raises(SettingsError, match=r"is no preprocessor_config\.json"):
            preprocessing_in(str(file))
    with pytest.raises(SettingsError, match="No such file"):
        preprocessing_in(str(tmp_path / "nowhere.json"))


def test_images_of_a_network_get_the_usual_preprocessing_unless_it_is_told() -> None:
    (image,) = tables_of("image-classification", SCRIPTED, NAMES, None).values()
    assert image == Image(labels=NAMES, preprocessing=SETTINGS)
    (image,) = tables_of("image-classification", SCRIPTED, [], {"do_resize": False}).values()
    assert image == Image(labels=[], preprocessing={"do_resize": False})
    assert tables_of("tabular-classification", SCRIPTED, NAMES, None) == {"table": Table(labels=NAMES)}
    assert tables_of("tabular-classification", SCRIPTED, [], None) == {}


@pytest.mark.parametrize(
    ("task", "source", "labels", "preprocessing", "said"),
    [
        ("image-classification", OF_HUB, NAMES, None, "--labels: this source names its classes itself"),
        ("image-classification", OF_HUB, [], {}, "--preprocessing: this source says itself"),
        ("text-classification", OF_HUB, NAMES, None, "--labels: this source"),
        ("tabular-classification", SCRIPTED, [], {}, "--preprocessing is about images"),
        ("tabular-classification", SCRIPTED, ["daisy"], None, "--labels: Value should have at least 2 items"),
        ("image-classification", SCRIPTED, ["two\nlines"], None, "--labels: String should match"),
    ],
)
def test_what_a_source_tells_itself_or_cannot_use_is_refused(
    task: Task, source: Source, labels: list[str], preprocessing: Any, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        tables_of(task, source, labels, preprocessing)


def test_a_saved_model_needs_to_be_told_how_its_pixels_are_made(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(SettingsError, match=r"does not tell how an image becomes pixels, .*: say --preprocessing"):
        tables_of("image-classification", Source(folder=tmp_path), NAMES, None)
    assert tables_of("tabular-classification", Source(folder=tmp_path), NAMES, None) == {"table": Table(labels=NAMES)}


def test_what_nobody_said_is_told() -> None:
    def notes(**tables: Any) -> list[str]:
        samples = [Sample(input={}, expect={})]
        return assumed(
            Pipeline(
                name="a",
                folder=Path(),
                task="image-classification",
                description="",
                source=SCRIPTED,
                samples=samples,
                **tables,
            )
        )

    numbered = ["class_0", "class_1"]
    assert len(notes(image=Image(labels=numbered, preprocessing=SETTINGS))) == 2
    assert notes(image=Image(labels=NAMES, preprocessing={"do_resize": False})) == []
    assert notes(table=Table(labels=NAMES)) == []
    assert "numbered" in notes(table=Table(labels=numbered))[0]
    assert notes() == []
