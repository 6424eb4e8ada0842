"""What the step makes of an image by torchvision's settings is what torchvision's arithmetic makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.build.pictures import FORMS, noise
from conch_tools.build.torchvision_images import SETTINGS, pixels


@pytest.mark.parametrize("form", FORMS)
def test_step_and_arithmetic_make_the_same_pixels_also_where_half_a_pixel_is_left(form: str) -> None:
    decoder = ImageDecoder(Preprocessing.from_settings(SETTINGS))
    for width, height in ((57, 90), (301, 64), (257, 225), (97, 150), (256, 259), (31, 48)):
        raw = FORMS[form](noise(width, height, width))
        np.testing.assert_allclose(decoder.decode(np.array([[raw]], dtype=np.object_))[0], pixels(raw), atol=2e-6)
