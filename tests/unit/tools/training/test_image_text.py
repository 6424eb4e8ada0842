"""The small CLIP: its pictures and captions are true, its weights small, and it reads colour and shape."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from conch_steps.image_decoder import Preprocessing
from conch_tools.training import _shapes as shapes
from conch_tools.training import image_text as training
from conch_tools.training._shapes import COLOURS, SHAPES, SIZES, Scene

MAX_WEIGHTS_BYTES = 3_000_000


def test_a_caption_names_what_the_scene_says() -> None:
    assert Scene("red", "star", "large").caption() == "a large red star"
    assert Scene("orange", "cross").caption() == "an orange cross"
    assert Scene(colour="blue").caption() == "a blue shape"


def test_a_caption_that_leaves_something_open_is_true_and_one_that_differs_is_not() -> None:
    scene = Scene("red", "star", "large")
    assert scene.includes(Scene(colour="red")) and scene.includes(Scene(shape="star", size="large"))
    assert not scene.includes(Scene("red", "cross")) and not scene.includes(Scene(size="small"))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_drawn_in_its_colour_within_the_picture(shape: str) -> None:
    for size, seed in itertools.product(SIZES, range(5)):
        pixels = np.asarray(shapes.draw(Scene("blue", shape, size), random.Random(seed)))
        blue = (pixels[:, :, 2] > 180) & (pixels[:, :, 0] < 70)
        assert 0.02 < blue.mean() < 0.75


def test_no_training_picture_shows_an_unseen_pair() -> None:
    chance = random.Random(0)
    drawn = {(scene.colour, scene.shape) for scene in (training._scene(chance) for _ in range(3000))}
    assert drawn == set(itertools.product(COLOURS, SHAPES)) - training.UNSEEN
    assert {colour for colour, _ in drawn} == set(COLOURS) and {shape for _, shape in drawn} == set(SHAPES)


def test_half_of_the_held_out_pictures_are_of_unseen_pairs() -> None:
    held = training.heldout()
    unseen = {Scene(*pair).caption() for pair in training.UNSEEN}
    assert {label for _, label, seen in held if not seen} == unseen
    assert not {label for _, label, seen in held if seen} & unseen
    assert sum(seen for _, _, seen in held) == len(held) / 2


def test_committed_weights_are_small() -> None:
    assert (training.folder / "model.safetensors").stat().st_size <= MAX_WEIGHTS_BYTES


def test_the_folder_loads_as_any_other_and_reads_colour_and_shape() -> None:
    model = CLIPModel.from_pretrained(training.folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(training.folder)
    texts = tokenizer([f"This is a photo of {label}." for label in training.labels], return_tensors="pt", padding=True)
    held = training.heldout()[:120]
    with torch.no_grad():
        pixels = training._pixels([image for image, _, _ in held])
        best = model(pixel_values=pixels, **texts).logits_per_image.argmax(dim=1)
    right = sum(training.labels[index] == label for index, (_, label, _) in zip(best.tolist(), held, strict=True))
    assert right / len(held) >= 0.9


def test_the_folders_image_processor_is_the_one_that_was_trained_with() -> None:
    settings = AutoImageProcessor.from_pretrained(training.folder).to_dict()
    served = Preprocessing.from_settings(settings)
    trained = Preprocessing.from_settings(training.preprocessing)
    assert (served.size, served.crop_size, served.resample) == (trained.size, trained.crop_size, trained.resample)
    assert (served.mean == trained.mean).all() and (served.std == trained.std).all()


def test_a_training_learns_and_writes_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"folder": tmp_path, "PICTURES": 64, "STEPS": 4, "BATCH": 16, "REPORT_EVERY": 1}.items():
        monkeypatch.setattr(training, name, value)
    said: list[str] = []
    training.train(said.append)
    assert len(said) == 5
    assert CLIPModel.from_pretrained(tmp_path).vision_model.embeddings.image_size == training.PIXELS
    assert len(AutoTokenizer.from_pretrained(tmp_path)("日本 🙂").input_ids) > 2
