from __future__ import annotations

import io
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conch_client._cast import Misfit
from conch_client._inputs import public_value

if TYPE_CHECKING:
    from tests.unit.client.conftest import Column, Frame

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)
COLOUR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def pixels(encoded: object) -> NDArray[np.uint8]:
    assert isinstance(encoded, bytes)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    path.write_bytes(b"what the file holds")
    return path


def test_a_path_to_an_image_is_read_whatever_its_type(file: Path) -> None:
    for path in (file, str(file), np.str_(file), np.array(str(file))):
        assert public_value("image", path) == b"what the file holds"


def test_several_images_may_each_be_given_in_their_own_way(file: Path) -> None:
    values = public_value("image", [str(file), b"bytes", GREY])
    assert isinstance(values, list)
    assert values[:2] == [b"what the file holds", b"bytes"]
    assert pixels(values[2]).tolist() == GREY.tolist()


def test_a_column_of_paths_is_several_images(file: Path, column: type[Column]) -> None:
    assert public_value("image", column([str(file)] * 2)) == [b"what the file holds"] * 2


def test_bytes_of_an_image_pass_as_they_are() -> None:
    assert public_value("image", b"\x89PNG") == b"\x89PNG"
    assert public_value("image", memoryview(b"\x89PNG")) == b"\x89PNG"


@pytest.mark.parametrize("array", [GREY, COLOUR, np.dstack([COLOUR, GREY])])
def test_pixels_arrive_unchanged(array: NDArray[np.uint8]) -> None:
    assert pixels(public_value("image", array)).tolist() == array.tolist()


def test_one_channel_is_grey() -> None:
    assert pixels(public_value("image", GREY[:, :, None])).tolist() == GREY.tolist()


def test_four_dimensions_are_several_images() -> None:
    encoded = public_value("image", np.stack([COLOUR, 255 - COLOUR]))
    assert isinstance(encoded, list)
    assert [pixels(image).tolist() for image in encoded] == [COLOUR.tolist(), (255 - COLOUR).tolist()]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_pil_image_arrives_unchanged_in_the_modes_png_has(mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    encoded = public_value("image", image)
    assert isinstance(encoded, bytes)
    assert Image.open(io.BytesIO(encoded)).mode == mode
    assert pixels(encoded).tolist() == np.asarray(image).tolist()


def test_a_pil_image_in_another_mode_becomes_rgb() -> None:
    encoded = public_value("image", Image.new("CMYK", (3, 2)))
    assert pixels(encoded).tolist() == np.full((2, 3, 3), 255).tolist()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no/such.png", r"'no/such.png' cannot be read \(No such file or directory\)"),
        (Path("/"), r"'/' cannot be read \(Is a directory\)"),
        ("a\x00b", "cannot be read .*null"),
        (7, "a path, bytes, a PIL image or a uint8 array, got int"),
        (GREY / 255, "uint8 from 0 to 255, got float64"),
        (np.zeros((2, 3, 5), dtype=np.uint8), r"got \[2, 3, 5\]; pass several as a list"),
        (np.zeros(3, dtype=np.uint8), r"shape \[H, W\]"),
        (np.zeros((0, 0), dtype=np.uint8), "Pillow cannot encode"),
    ],
)
def test_what_is_no_image_is_refused(value: object, reason: str) -> None:
    with pytest.raises(Misfit, match=reason):
        public_value("image", value)


def test_without_pillow_arrays_are_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(Misfit, match="pip install pillow"):
        public_value("image", GREY)


def test_a_path_is_read_for_images_only(file: Path) -> None:
    for tensor in ("text", "features", "anything"):
        assert public_value(tensor, str(file)) == str(file)


def test_features_become_a_json_object() -> None:
    row = {
        "age": np.int64(41),
        "income": np.float32(0.5),
        "since": date(2024, 2, 29),
        "note": None,
        "tags": ["ü"],
    }
    written = public_value("features", row)
    assert isinstance(written, str)
    expected = {"age": 41, "income": 0.5, "since": "2024-02-29", "note": None, "tags": ["ü"]}
    assert json.loads(written) == expected


def test_each_row_of_a_frame_is_one_item(frame: type[Frame], column: type[Column]) -> None:
    rows = [{"age": 41, "name": "a"}, {"age": 7, "name": "b"}]
    for several in (frame({"age": [41, 7], "name": ["a", "b"]}), rows, column(rows)):
        written = public_value("features", several)
        assert isinstance(written, list)
        assert [json.loads(row) for row in written] == rows


def test_features_that_are_written_already_pass_as_they_are() -> None:
    assert public_value("features", ['{"a": 1}', b"{}"]) == ['{"a": 1}', b"{}"]


@pytest.mark.parametrize("row", [{"a": object()}, {"a": [float("nan")]}])
def test_features_that_json_does_not_have_are_refused(row: object) -> None:
    with pytest.raises(Misfit, match=r"cannot be written as JSON.*write None for a missing value"):
        public_value("features", row)


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), np.float64("-inf")])
def test_a_feature_that_is_not_a_number_is_named(value: object) -> None:
    with pytest.raises(Misfit, match=r"the feature 'b' is (nan|inf|-inf), .*write None for a missing value"):
        public_value("features", [{"a": 1.0}, {"a": 1.0, "b": value}])
