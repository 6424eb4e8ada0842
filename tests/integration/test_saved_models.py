"""SavedModels of TensorFlow's: `conch new`, `conch build` and a server, and TensorFlow's own answers.

They need the extra `tensorflow`, and are skipped without it. TensorFlow itself runs in a process of its own, as
everywhere in Conch.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conch_client import Client
from conch_tools.build.pictures import noise
from conch_tools.build.run import build
from conch_tools.check import check_repository
from conch_tools.errors import BuildError, SettingsError
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.settings import Settings
from image_questions import one_request

pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow: the extra `tensorflow`")

MakeSettings = Callable[..., Settings]
LIMIT_S = 120
HEIGHT, WIDTH = 28, 42
SPECIES = ["setosa", "versicolor", "virginica"]
FLOWERS = ["daisy", "rose", "tulip", "weed", "moss"]
SETTINGS = {"do_resize": True, "size": {"height": HEIGHT, "width": WIDTH}}
"""Values from 0 to 255, as Keras' own loader gives them; the model rescales."""
SAVE = """
import sys
import numpy as np
import tensorflow as tf

folder, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tf.keras.utils.set_random_seed(0)
layers = tf.keras.layers
table = tf.keras.Sequential([tf.keras.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(3)])
images = tf.keras.Sequential([
    tf.keras.Input((height, width, 3)), layers.Rescaling(1 / 255), layers.Conv2D(16, 7, strides=7, activation="relu"),
    layers.GlobalMaxPooling2D(), layers.Dense(5, kernel_initializer="random_normal", activation="softmax"),
])
table.export(folder + "/table")
images.export(folder + "/images")
np.save(folder + "/table.npy", tf.nn.softmax(table(np.load(folder + "/rows.npy"))).numpy())
np.save(folder + "/images.npy", images(np.load(folder + "/pixels.npy")).numpy())


class Several(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None, 2])])
    def together(self, a, b):
        return {"scores": a + b}

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def alone(self, a):
        return {"scores": a[:, :1]}


several = Several()
tf.saved_model.save(several, folder + "/together", signatures=several.together)
tf.saved_model.save(several, folder + "/alone", signatures=several.alone)
tf.saved_model.save(several, folder + "/unsigned")
"""


def pictures() -> list[np.ndarray[Any, Any]]:
    """Of the size that the model takes: how an image is resized is not TensorFlow's affair here."""
    return [np.asarray(noise(WIDTH, HEIGHT, seed)) for seed in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels, and what TensorFlow answers to rows and pixels."""
    folder = tmp_path_factory.mktemp("checkout")
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32).round(3))
    np.save(folder / "pixels.npy", np.stack(pictures()).astype(np.float32))
    command = [sys.executable, "-c", SAVE, str(folder), str(HEIGHT), str(WIDTH)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    return folder


@dataclass(frozen=True)
class Served:
    """Both, built and served."""

    settings: Settings
    client: Client


@pytest.fixture(scope="module")
def served(folder: Path, make_module_settings: MakeSettings, start_triton: Any) -> Iterator[Served]:
    settings = make_module_settings(folder, folder / "repository")
    settings.repository.mkdir()
    told = {"labels": ",".join(FLOWERS), "preprocessing": str(folder / "preprocessor_config.json")}
    image = {"task": "image-classification", "source": str(folder / "images"), **told}
    table = {"task": "tabular-classification", "source": str(folder / "table"), "labels": ", ".join(SPECIES)}
    new_pipeline(settings, answers("photos", image, None))
    new_pipeline(settings, answers("irises", table, None))
    assert len(build(settings, load_pipelines(settings.repository), print)) == 2
    server = start_triton(settings.repository, models=models_of(load_pipelines(settings.repository)))
    with Client(server.grpc_url, timeout_s=60) as client:
        yield Served(settings, client)


def test_scores_of_rows_are_tensorflows(served: Served, folder: Path) -> None:
    rows = [
        {f"feature_{index}": float(value) for index, value in enumerate(row)} for row in np.load(folder / "rows.npy")
    ]
    scores = [[answer.scores[label] for label in SPECIES] for answer in served.client.score(rows, "irises")]
    np.testing.assert_allclose(scores, np.load(folder / "table.npy"), atol=1e-5)


def test_scores_of_images_are_tensorflows_whose_own_softmax_is_not_done_twice(served: Served, folder: Path) -> None:
    raw = [png(image) for image in pictures()]
    scores = [[each[name] for name in FLOWERS] for each in one_request(served.client, "photos", raw)]
    np.testing.assert_allclose(scores, np.load(folder / "images.npy"), atol=1e-5)
    config = (served.settings.repository / "photos_labels" / "config.pbtxt").read_text()
    assert 'key: "activation" value { string_value: "none" }' in config


def png(image: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", ["photos", "irises"])
def test_what_was_written_passes_the_check(served: Served, tmp_path: Path, name: str) -> None:
    for model in served.settings.repository.glob(f"{name}*"):
        shutil.copytree(model, tmp_path / model.name)
    assert check_repository(tmp_path, served.settings.backends) == []


@pytest.mark.parametrize(
    ("source", "task", "said"),
    [
        (
            "together",
            "tabular-classification",
            "its signature must take one float32 tensor of rows, but takes a float32",
        ),
        ("alone", "tabular-classification", "it tells 1 class apart"),
        ("unsigned", "tabular-classification", "has no signature serving_default but none: export it by model.export"),
        ("images", "tabular-classification", "its signature takes (None, 28, 42, 3), not [n, columns]"),
        ("images", "image-classification", "a SavedModel does not tell how an image becomes pixels"),
    ],
)
def test_a_saved_model_that_cannot_be_served_is_refused_in_one_sentence_and_nothing_is_written(
    folder: Path, tmp_path: Path, make_settings: MakeSettings, source: str, task: str, said: str
) -> None:
    settings = make_settings(tmp_path / "repository")
    settings.repository.mkdir()
    with pytest.raises((BuildError, SettingsError)) as refused:
        new_pipeline(settings, answers("mine", {"task": task, "source": str(folder / source)}, None))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not any(settings.repository.iterdir())
