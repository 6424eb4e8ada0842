"""The pictures of new pipelines: small, the same every time, and unlike each other."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from conch_tools.new.sample_pictures import daisy, landscape


@pytest.mark.parametrize(("drawn", "size"), [(landscape, (160, 120)), (daisy, (120, 160))])
def test_a_picture_is_a_small_png_and_the_same_every_time(drawn: Callable[[], bytes], size: tuple[int, int]) -> None:
    raw = drawn()
    image = Image.open(io.BytesIO(raw))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", size)
    assert len(raw) < 20_000 and raw == drawn()


def test_pictures_have_many_colours_and_are_unlike_each_other() -> None:
    small = [np.asarray(Image.open(io.BytesIO(raw)).resize((8, 8)), dtype=int) for raw in (landscape(), daisy())]
    assert all(image.std() > 30 for image in small)
    assert np.abs(small[0] - small[1]).mean() > 50
