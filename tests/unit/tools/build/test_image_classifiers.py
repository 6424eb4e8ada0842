"""What a folder must hold to be an image classifier's, and what is said of one that does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    ConvNextImageProcessorPil,
    EfficientNetImageProcessorPil,
    MobileViTImageProcessorPil,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    TextNetImageProcessorPil,
)

from conch_tools.build.image_classifiers import image_classifier
from conch_tools.build.pictures import FORMS, pictures
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, Sample, Source

SIDE = 32
SMALL: Mapping[str, Any] = {
    "embedding_size": 4,
    "hidden_sizes": [4, 4, 4, 4],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "num_labels": 3,
}


def pipeline_of(folder: Path) -> Pipeline:
    return Pipeline(
        name="photos",
        folder=folder,
        task="image-classification",
        description="",
        source=Source(folder=folder),
        samples=[Sample(input={}, expect={})],
    )


def save_model(folder: Path, **changes: Any) -> None:
    ResNetForImageClassification(ResNetConfig(**{**SMALL, **changes})).save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model folder, for tests to spoil."""
    save_model(tmp_path)
    ConvNextImageProcessorPil(size={"shortest_edge": SIDE}).save_pretrained(tmp_path)
    return tmp_path


def test_a_classifier_brings_its_network_its_classes_and_its_pixels(folder: Path) -> None:
    found = image_classifier(pipeline_of(folder))
    assert found.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert {found.pixels(image).shape for image in found.corpus} == {(3, SIDE, SIDE)}
    logits = found.network.answers(np.zeros((2, 3, SIDE, SIDE), np.float32))
    assert logits.shape == (2, 3) and found.scores(torch.from_numpy(logits)).sum(dim=-1).tolist() == pytest.approx(
        [1, 1]
    )


@pytest.mark.parametrize("changes", [{"problem_type": "multi_label_classification"}, {"num_labels": 1}])
def test_scores_are_each_for_itself_where_several_classes_may_fit(folder: Path, changes: dict[str, Any]) -> None:
    save_model(folder, **changes)
    scores = image_classifier(pipeline_of(folder)).scores
    assert scores(torch.zeros(1, 2)).tolist() == [[0.5, 0.5]] and scores(torch.zeros(1, 1)).tolist() == [[0.5]]


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0no header at all")


def of_another_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def of_no_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "made_up"}')


def without_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def without_head(folder: Path) -> None:
    ResNetModel(ResNetConfig(**SMALL)).save_pretrained(folder)


def of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_sizes": [8, 8, 8, 8]}))


def for_a_regression(folder: Path) -> None:
    save_model(folder, problem_type="regression")


def of_grey_images(folder: Path) -> None:
    save_model(folder, num_channels=1)


def of_any_size(folder: Path) -> None:
    TextNetImageProcessorPil(size={"shortest_edge": SIDE}, do_center_crop=False).save_pretrained(folder)


def with_two_edges(folder: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 32, "longest_edge": 40}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def normalised_twice(folder: Path) -> None:
    EfficientNetImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def in_another_order_of_channels(folder: Path) -> None:
    size = {"height": SIDE, "width": SIDE}
    MobileViTImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_weights, "has no weights: model.safetensors is missing"),
        (damaged, "is no file of safetensors: bring it again"),
        (of_another_architecture, "architecture `bert`, of which transformers has no image classifier"),
        (of_no_architecture, "transformers cannot read .*config.json: .*`made_up`"),
        (without_processor, "transformers finds no image processor in "),
        (without_head, r"is no image classifier: it has no weights for classifier\.1\.bias, classifier\.1\.weight, "),
        (of_another_size, "is no image classifier that transformers can load: "),
        (for_a_regression, "its source is made for regression: image-classification needs classes to name"),
        (of_grey_images, r"does not take the pixels \[3, 32, 32\] that its preprocessing makes: "),
        (of_any_size, "TextNetImageProcessor, cannot be served: it makes pixels of any height and width"),
        (with_two_edges, "ConvNextImageProcessor, cannot be served: .*longest_edge.* is not height and width alone"),
        (normalised_twice, r"grey levels off \(not honoured: include_top\)"),
        (in_another_order_of_channels, r"grey levels off \(not honoured: do_flip_channel_order\)"),
    ],
)
def test_what_is_no_servable_classifier_is_refused_in_one_sentence(
    folder: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(folder)
    with pytest.raises(BuildError, match=said) as refused:
        image_classifier(pipeline_of(folder))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_the_pictures_of_a_corpus_are_the_same_every_time_and_of_every_form() -> None:
    assert pictures(30) == pictures(30)
    assert len(set(pictures(30))) == 30 > len(FORMS)


def test_a_training_of_conchs_own_is_a_classifier_as_well(tmp_path: Path) -> None:
    found = image_classifier(pipeline_of(tmp_path).model_copy(update={"source": Source(training="digits")}))
    assert found.heldout and found.pixels(found.corpus[0]).shape == (1, 16, 16)
    assert np.isfinite(found.pixels(found.corpus[0])).all()
