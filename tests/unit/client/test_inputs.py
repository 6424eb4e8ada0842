from __future__ import annotations

import io
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

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


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_a_pil_image_in_another_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("RGB", (3, 2), (200, 30, 60))
    seen = pixels(public_value("image", image.convert(mode)))
    assert np.abs(seen.astype(int) - np.asarray(image)).max() <= 2


def viewed(encoded: object) -> tuple[int, ...]:
    """The first pixel as a viewer has it: red, green, blue and opacity."""
    assert isinstance(encoded, bytes)
    pixel = Image.open(io.BytesIO(encoded)).convert("RGBA").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


@pytest.mark.parametrize("steps", [["LA"], ["RGBA"], ["PA"], ["RGBa"], ["LA", "La"]], ids=lambda steps: steps[-1])
def test_transparency_arrives_in_every_mode_that_has_it(steps: list[str]) -> None:
    image = Image.new("RGBA", (3, 2), (200, 200, 200, 128))
    for mode in steps:
        image = image.convert(mode)
    assert image.mode == steps[-1]
    assert viewed(public_value("image", image)) == pytest.approx((200, 200, 200, 128), abs=1)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_the_transparency_of_a_palette_arrives(transparency: object) -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.info["transparency"] = transparency
    assert viewed(public_value("image", image)) == (200, 30, 60, 0)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_sixteen_bits_arrive_unchanged_whatever_the_order_of_their_bytes(mode: str) -> None:
    values = np.array([[0, 1000, 65535]], dtype=">u2" if mode == "I;16B" else "<u2")
    image = Image.frombytes(mode, (3, 1), values.tobytes())
    assert pixels(public_value("image", image)).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("mode", "cure"), [("I", r"convert\('I;16'\) if to 65535"), ("F", "else scale them to that first")]
)
def test_numbers_without_a_range_are_refused_with_the_mode_and_the_cure(mode: str, cure: str) -> None:
    with pytest.raises(Misfit, match=f"of mode {mode} are of no fixed range.*{cure}"):
        public_value("image", Image.new(mode, (3, 2)))


def photograph(orientation: int) -> bytes:
    """Two pixels beside each other, the left one white, as a camera held like this has stored them."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.array([[255, 0]], dtype=np.uint8)).save(buffer, format="PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(("orientation", "upright"), [(1, [[255, 0]]), (3, [[0, 255]]), (6, [[255], [0]])])
def test_a_photograph_opened_with_pillow_is_sent_upright_like_its_file(
    orientation: int, upright: list[list[int]]
) -> None:
    with Image.open(io.BytesIO(photograph(orientation))) as image:
        assert pixels(public_value("image", image)).tolist() == upright
        assert image.size == (2, 1)


def test_damaged_metadata_of_a_photograph_counts_as_none() -> None:
    image = Image.fromarray(GREY)
    image.info["exif"] = b"Exif\0\0damaged"
    assert pixels(public_value("image", image)).tolist() == GREY.tolist()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no/such.png", r"'no/such.png' cannot be read \(No such file or directory\)"),
        (Path("/"), r"'/' cannot be read \(Is a directory\)"),
        ("a\x00b", "cannot be read .*null"),
        (7, "a path, bytes, a PIL image or a uint8 array, got int"),
        (io.BytesIO(b"png"), r"got BytesIO: pass what its read\(\) gives"),
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


@pytest.mark.parametrize(
    "row", [{"a": [float("nan")]}, {"a": object()}, {"a": b"bytes"}, {"a": "\ud800"}, {"a": pandas.NaT}]
)
def test_features_that_json_does_not_have_are_refused(row: object) -> None:
    with pytest.raises(Misfit, match=r"cannot be written as JSON.*write None for a missing value"):
        public_value("features", row)


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), np.float64("-inf")])
def test_a_feature_that_is_not_a_number_is_named(value: object) -> None:
    with pytest.raises(Misfit, match=r"the feature 'b' is (nan|inf|-inf), .*write None for a missing value"):
        public_value("features", [{"a": 1.0}, {"a": 1.0, "b": value}])
