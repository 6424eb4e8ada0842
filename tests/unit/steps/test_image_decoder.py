"""Images of strangers become a model's pixels, or are refused by their place in the request."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError
from conch_steps.image_decoder import REQUEST_FACTOR, ImageDecoder, Preprocessing

GRAY: dict[str, Any] = {"do_grayscale": True}
FOUR: dict[str, Any] = {"do_resize": True, "size": {"height": 4, "width": 4}}


def decoder(max_pixels: int = 10_000, **settings: Any) -> ImageDecoder:
    return ImageDecoder(Preprocessing.from_settings(settings), max_pixels)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


def plain(width: int, height: int, mode: str = "L", colour: Any = 0, file_format: str = "PNG") -> bytes:
    return encoded(Image.new(mode, (width, height), colour), file_format)


def images(*rows: bytes) -> npt.NDArray[np.object_]:
    return np.array([[row] for row in rows], dtype=object)


def test_colour_images_become_channels_first() -> None:
    pixels = decoder().decode(images(plain(3, 2, "RGB", (10, 20, 30)), plain(3, 2, "L", 7)))
    assert pixels.shape == (2, 3, 2, 3) and pixels.dtype == np.float32
    assert pixels[0, :, 0, 0].tolist() == [10, 20, 30]
    assert pixels[1, :, 0, 0].tolist() == [7, 7, 7]


def test_images_are_rescaled_then_normalised() -> None:
    settings: dict[str, Any] = {
        "do_rescale": True,
        "rescale_factor": 0.1,
        "do_normalize": True,
        "image_mean": [2],
        "image_std": [4],
    }
    pixels = decoder(**GRAY, **settings).decode(images(plain(1, 1, "L", 100)))
    assert pixels.tolist() == [[[[2.0]]]]


def test_images_are_resized_to_a_size_or_by_their_shortest_edge() -> None:
    assert decoder(**FOUR).decode(images(plain(30, 10))).shape == (1, 3, 4, 4)
    by_edge = decoder(do_resize=True, size={"shortest_edge": 4})
    assert by_edge.decode(images(plain(30, 10))).shape == (1, 3, 4, 12)
    assert by_edge.decode(images(plain(10, 30))).shape == (1, 3, 12, 4)


def test_the_middle_is_cropped_and_small_images_are_padded_with_zeros() -> None:
    crop = decoder(**GRAY, do_center_crop=True, crop_size={"height": 2, "width": 4})
    wide = np.arange(16, dtype=np.uint8).reshape(2, 8)
    assert crop.decode(images(encoded(Image.fromarray(wide))))[0, 0].tolist() == [[2, 3, 4, 5], [10, 11, 12, 13]]
    small = np.full((1, 2), 9, dtype=np.uint8)
    assert crop.decode(images(encoded(Image.fromarray(small))))[0, 0].tolist() == [[0, 0, 0, 0], [0, 9, 9, 0]]


def test_a_margin_of_half_a_pixel_is_rounded_down_or_as_torchvision_does() -> None:
    settings = {**GRAY, "do_center_crop": True, "crop_size": {"height": 1, "width": 1}}
    down, rounded = decoder(**settings), decoder(**settings, crop_start="rounded")
    for width, first, even in ((2, 0, 0), (4, 1, 2), (6, 2, 2), (8, 3, 4)):
        row = images(encoded(Image.fromarray(np.arange(width, dtype=np.uint8)[None])))
        assert [float(each.decode(row)[0, 0, 0, 0]) for each in (down, rounded)] == [first, even]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (0, 0, 0, 0), 255),
        ("RGBA", (0, 0, 0, 255), 0),
        ("LA", (0, 128), 127),
        ("1", 1, 255),
        ("P", 0, 0),
        ("I;16", 0x8000, 0x80),
    ],
)
def test_every_mode_becomes_eight_bits_on_white(mode: str, colour: Any, expected: int) -> None:
    assert decoder(**GRAY).decode(images(plain(1, 1, mode, colour))).item() == pytest.approx(expected, abs=1)


def with_palette_and_hole() -> bytes:
    image = Image.new("P", (1, 1), 0)
    image.putpalette([10, 20, 30])
    return encoded(image, transparency=0)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (plain(1, 1, "RGBA", (10, 20, 30, 0)), [10, 20, 30]),
        (plain(1, 1, "LA", (10, 0)), [10, 10, 10]),
        (with_palette_and_hole(), [10, 20, 30]),
        (plain(1, 1, "I;16", 0x8000), [255, 255, 255]),
        (plain(1, 1, "I;16", 7), [7, 7, 7]),
        (plain(1, 1, "CMYK", (0, 255, 0, 0), "JPEG"), [255, 0, 255]),
    ],
)
def test_a_model_that_was_measured_on_images_as_pillow_converts_them_is_served_such(
    raw: bytes, expected: list[int]
) -> None:
    pixels = decoder(conversion="pillow").decode(images(raw))[0, :, 0, 0]
    assert pixels.tolist() == pytest.approx(expected, abs=2)


def test_a_colour_that_stands_for_a_hole_is_white_to_processors_that_convert_though_alpha_is_not() -> None:
    as_there = decoder(conversion="pillow", do_convert_rgb=True)
    assert as_there.decode(images(with_palette_and_hole())).ravel().tolist() == [255, 255, 255]
    assert as_there.decode(images(plain(1, 1, "RGBA", (10, 20, 30, 0)))).ravel().tolist() == [10, 20, 30]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_its_exif_says(orientation: int) -> None:
    upright = np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert decoder(**GRAY).decode(images(raw))[0, 0].tolist() == upright.tolist()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        # An orientation that is a text.
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 0x0112, 2, 4, b"up\0\0") + bytes(4),
        # An offset to more metadata that is not there.
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 2**31) + bytes(4),
    ],
)
def test_damaged_metadata_does_not_make_an_image_unreadable(exif: bytes) -> None:
    raw = encoded(Image.new("L", (2, 2), 50), "JPEG", exif=exif)
    assert decoder(**GRAY).decode(images(raw)).shape == (1, 1, 2, 2)


SOUND = plain(20, 20)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not a PNG, JPEG or WEBP image"),
        (b"hello", "is not a PNG, JPEG or WEBP image"),
        (b"<svg/>", "is not a PNG, JPEG or WEBP image"),
        (plain(2, 2, file_format="GIF"), "is not a PNG, JPEG or WEBP image"),
        (plain(2, 2, file_format="TIFF"), "is not a PNG, JPEG or WEBP image"),
        (SOUND[:-30], "cannot be decoded, it is damaged or cut off: "),
        (plain(101, 100), "has 101 x 100 pixels, the limit is 10000 in all: send a smaller image"),
    ],
)
def test_what_is_no_image_is_refused_by_its_place(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decoder().decode(images(SOUND, raw))
    assert str(refused.value).startswith(f"`image`[1] {said}")


def test_a_bomb_is_refused_from_its_header() -> None:
    header = b"IHDR" + struct.pack(">II", 2**31 - 1, 2**31 - 1) + SOUND[24:29]
    raw = SOUND[:12] + header + struct.pack(">I", zlib.crc32(header)) + SOUND[33:]
    with pytest.raises(InvalidInput, match=r"`image`\[0\] has too many pixels: send a smaller image"):
        decoder().decode(images(raw))


def test_images_have_a_limit_together() -> None:
    largest = plain(100, 100)
    assert len(decoder(**FOUR).decode(images(*[largest] * REQUEST_FACTOR))) == REQUEST_FACTOR
    with pytest.raises(InvalidInput, match="more than 40000 pixels together: send them in several requests"):
        decoder(**FOUR).decode(images(*[largest] * REQUEST_FACTOR, SOUND))


def test_images_that_are_too_many_together_are_refused_before_one_is_decoded() -> None:
    damaged = plain(100, 100)[:60]
    with pytest.raises(InvalidInput, match="pixels together"):
        decoder(**FOUR).decode(images(*[damaged] * REQUEST_FACTOR, SOUND))


def test_an_image_that_would_grow_beyond_the_limit_is_refused() -> None:
    by_edge = decoder(do_resize=True, size={"shortest_edge": 224})
    with pytest.raises(InvalidInput, match=r"`image`\[0\] is 9000 x 1, too long and narrow for this model: crop it"):
        by_edge.decode(images(plain(9000, 1)))


def test_images_of_several_sizes_are_refused_when_nothing_makes_them_equal() -> None:
    with pytest.raises(InvalidInput, match="differ in size and this model does not resize"):
        decoder().decode(images(plain(3, 2), plain(2, 3)))


def test_no_images_are_refused() -> None:
    with pytest.raises(InvalidInput, match="`image` has no rows"):
        decoder().decode(np.empty((0, 1), dtype=object))


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8))
    return [encoded(noise, file_format, exif=exif) for file_format in ("PNG", "JPEG", "WEBP")]


@given(
    st.sampled_from(seeds()),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), min_size=1, max_size=6),
)
def test_damaged_images_are_decoded_or_refused_and_nothing_else(raw: bytes, damage: list[tuple[float, bytes]]) -> None:
    for place, patch in damage:
        start = int(place * len(raw))
        raw = raw[:start] + patch + raw[start + len(patch) :] if patch else raw[:start]
    try:
        assert decoder(**GRAY, **FOUR).decode(images(raw)).shape == (1, 1, 4, 4)
    except InvalidInput as refused:
        assert str(refused).startswith("`image`[0] ")


def test_settings_are_read_from_the_models_file(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**GRAY, **FOUR, "resample": 0, "image_processor_type": "ignored"}))
    assert ImageDecoder(Preprocessing.from_file(path)).decode(images(SOUND)).shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"resample": 77}',
        '{"do_normalize": true}',
        '{"do_resize": true}',
        '{"do_resize": true, "size": {"longest_edge": 4}}',
        '{"do_resize": true, "size": {"height": 4}}',
        '{"do_resize": true, "size": {"shortest_edge": 4, "longest_edge": 8}}',
        '{"do_resize": true, "size": {"height": 4, "width": 4}, "crop_pct": 0.9}',
        '{"do_resize": true, "size": {"shortest_edge": 4}, "crop_pct": 0.9, "do_center_crop": true,'
        ' "crop_size": {"height": 5, "width": 4}}',
        '{"do_normalize": true, "image_mean": [0.5, 0.5], "image_std": [0.5, 0.5]}',
        '{"do_center_crop": true, "crop_size": {"shortest_edge": 4}}',
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(content)
    with pytest.raises(ModelConfigError, match=r"preprocessor_config\.json is not a usable image processor file"):
        Preprocessing.from_file(path)


def test_missing_settings_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"preprocessor_config\.json is missing: run `conch build`"):
        Preprocessing.from_file(tmp_path / "preprocessor_config.json")


EDGE: dict[str, Any] = {"do_resize": True, "size": {"shortest_edge": 8}}
CROP: dict[str, Any] = {"do_center_crop": True, "crop_size": {"height": 2, "width": 6}}


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (FOUR, (3, 4, 4)),
        ({**GRAY, **FOUR}, (1, 4, 4)),
        ({**EDGE, **CROP}, (3, 2, 6)),
        (CROP, (3, 2, 6)),
        ({**EDGE, "crop_pct": 0.5}, (3, 8, 8)),
        ({"do_resize": True, "size": {"shortest_edge": 384}, "crop_pct": 0.5}, (3, 384, 384)),
        (EDGE, None),
        ({}, None),
    ],
)
def test_the_shape_of_the_pixels_is_known_where_no_image_decides_it(
    settings: dict[str, Any], shape: tuple[int, int, int] | None
) -> None:
    assert Preprocessing.from_settings(settings).shape == shape
    if shape is not None:
        assert decoder(1_000_000, **settings).decode(images(plain(30, 20))).shape == (1, *shape)


def test_one_mean_and_std_may_stand_for_all_channels() -> None:
    settings: dict[str, Any] = {"do_normalize": True, "image_mean": 10, "image_std": 2}
    assert decoder(**settings).decode(images(plain(1, 1, "L", 30)))[0, :, 0, 0].tolist() == [10, 10, 10]


CLIP: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 48},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 48, "width": 48},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


@settings(max_examples=40)
@given(width=st.integers(1, 130), height=st.integers(1, 130), crop=st.sampled_from([(48, 48), (31, 48), (64, 50)]))
def test_clips_preprocessing_gives_the_pixels_that_transformers_gives(
    width: int, height: int, crop: tuple[int, int]
) -> None:
    transformers = pytest.importorskip("transformers")
    clip = {**CLIP, "crop_size": {"height": crop[0], "width": crop[1]}}
    noise = np.random.default_rng(width * 131 + height).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    expected = transformers.CLIPImageProcessor(**clip)(image, return_tensors="np")["pixel_values"]
    pixels = decoder(1_000_000, **clip).decode(images(encoded(image)))
    np.testing.assert_allclose(pixels, expected, atol=1e-5)


PROCESSORS: dict[str, dict[str, Any]] = {
    "ConvNextImageProcessorPil": {"size": {"shortest_edge": 40}, "crop_pct": 0.9},
    "ViTImageProcessorPil": {"size": {"height": 33, "width": 50}, "image_std": [0.2, 0.5, 0.7]},
    "MobileNetV2ImageProcessorPil": {
        "size": {"shortest_edge": 45},
        "crop_size": {"height": 50, "width": 31},
        "do_normalize": False,
    },
    "SiglipImageProcessorPil": {"size": {"height": 24, "width": 24}, "do_rescale": False},
}


@settings(max_examples=40)
@given(
    st.integers(1, 130),
    st.integers(1, 130),
    st.sampled_from(list(PROCESSORS)),
    st.sampled_from([int(kind) for kind in Image.Resampling]),
)
def test_pixels_are_those_of_image_processors_of_every_family_and_resample_kind(
    width: int, height: int, name: str, resample: int
) -> None:
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, name)(**PROCESSORS[name], resample=resample)
    noise = np.random.default_rng(width * 131 + height).integers(0, 256, (height, width, 3)).astype(np.uint8)
    expected = processor(Image.fromarray(noise), return_tensors="np")["pixel_values"]
    own = json.loads(processor.to_json_string())
    pixels = decoder(1_000_000, **own).decode(images(encoded(Image.fromarray(noise))))
    np.testing.assert_allclose(pixels, expected, rtol=1e-5, atol=1e-5)


def test_the_shortest_edge_is_met_to_the_pixel() -> None:
    edge: dict[str, Any] = {"do_resize": True, "size": {"shortest_edge": 16}}
    assert decoder(**edge).decode(images(plain(49, 98))).shape == (1, 3, 32, 16)
