"""How most image classifiers of PyTorch's were measured, and TorchServe's handler image_classifier prepares images.

It is torchvision's transforms Resize(256), CenterCrop(224), ToTensor and Normalize, on Pillow's images. SETTINGS say it
to the decoder step; `pixels` does it, without the step, so that a build can compare both.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from conch_steps.image_decoder import AS_PILLOW, CONVERSION, CROP_START, ROUNDED

EDGE, CROP = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels."""
SETTINGS: Mapping[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": EDGE},
    "resample": int(Image.Resampling.BILINEAR),
    "do_center_crop": True,
    "crop_size": {"height": CROP, "width": CROP},
    CROP_START: ROUNDED,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
    CONVERSION: AS_PILLOW,
}


def pixels(raw: bytes) -> npt.NDArray[np.float32]:
    """Of an encoded image, opened upright and in RGB: [3, CROP, CROP]."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(raw))).convert("RGB")
    short, long = sorted(image.size)
    longer = int(EDGE * long / short)
    image = image.resize((EDGE, longer) if image.width <= image.height else (longer, EDGE), Image.Resampling.BILINEAR)
    left, top = round((image.width - CROP) / 2), round((image.height - CROP) / 2)
    values = np.asarray(image.crop((left, top, left + CROP, top + CROP)), dtype=np.float32) / 255
    return ((values - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1)
