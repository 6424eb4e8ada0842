"""A function that makes a network, TorchScript or an archive of TorchServe's, with what is told of images and classes.

What runs apart is asked in the test's own process: importing torch in another takes longer than a test.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch_steps.onnx_backend.session import ort
from conch_tools.build import networks
from conch_tools.build.builder import builder_of
from conch_tools.build.image_classifiers import image_classifier
from conch_tools.build.sources import describe_source
from conch_tools.build.staging import Staged
from conch_tools.errors import BuildError
from conch_tools.pipelines import Image, Pipeline, Sample, Source
from torch_sources import asked_here

SIZED: dict[str, Any] = {"do_resize": True, "size": {"height": 8, "width": 6}, "do_rescale": True, "rescale_factor": 1}
LABELS = ["one", "two"]
MODULE = "network_of_a_test"
CODE = """
import torch

number = 3


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 6, 2))


def three_classes():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 6, 3))


def two_answers():
    class Two(torch.nn.Module):
        def forward(self, pixels):
            return pixels, pixels
    return Two()


def no_module():
    return 3


def fetching():
    raise OSError("no route to host")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a pipeline whose labels step ranks by softmax; the module can be imported, a TorchScript lies beside."""
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for model in ("photos", "photos_decode", "photos_model", "photos_labels"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").write_text(f'name: "{model}"\n')
    (tmp_path / "photos" / "pipeline.toml").touch()
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 6, 2))
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what people have.
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(1, 3, 8, 6)).save(tmp_path / "photos" / "model.pt")
    (tmp_path / "photos" / "damaged.pt").write_bytes(b"no TorchScript")
    return tmp_path / "photos"


def pipeline_of(folder: Path, image: Image | None, **source: Any) -> Pipeline:
    return Pipeline(
        name="photos",
        folder=folder,
        task="image-classification",
        description="",
        source=Source(**source),
        samples=[Sample(input={}, expect={})],
        image=image,
    )


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(networks, "ask_apart", asked_here(tmp_path_factory))


SOUND = Image(labels=LABELS, preprocessing=SIZED)
SOURCES: list[dict[str, Any]] = [{"module": f"{MODULE}:network"}, {"file": Path("model.pt")}]


@pytest.mark.parametrize("source", SOURCES)
def test_the_graph_and_its_settings_are_those_of_the_network_and_of_the_file(
    folder: Path, tmp_path: Path, source: dict[str, Any]
) -> None:
    pipeline = pipeline_of(folder, SOUND, **source)
    staged = Staged.fresh(pipeline, tmp_path / "staging")
    builder_of(pipeline).stage(staged)
    assert json.loads((staged.version("photos_decode") / "preprocessor_config.json").read_text()) == SIZED
    assert (staged.version("photos_labels") / "labels.txt").read_text() == "one\ntwo\n"
    pixels = np.random.default_rng(0).normal(size=(5, 3, 8, 6)).astype(np.float32)
    session = ort.InferenceSession(str(staged.version("photos_model") / "model.onnx"))
    (logits,) = session.run(["logits"], {"pixels": pixels})
    np.testing.assert_allclose(logits, image_classifier(pipeline).network.answers(pixels), atol=1e-5)


def test_scores_are_ranked_as_the_labels_step_ranks_them(folder: Path) -> None:
    several = 'parameters { key: "activation" value { string_value: "sigmoid" } }'
    pipeline = pipeline_of(folder, SOUND, **SOURCES[0])
    assert image_classifier(pipeline).scores(torch.zeros(1, 4)).tolist() == [[0.25] * 4]
    (folder.parent / "photos_labels" / "config.pbtxt").write_text(several)
    assert image_classifier(pipeline).scores(torch.zeros(1, 4)).tolist() == [[0.5] * 4]


def test_another_file_is_another_source(folder: Path) -> None:
    pipeline = pipeline_of(folder, SOUND, **SOURCES[1])
    before = describe_source(pipeline)
    (folder / "model.pt").write_bytes(b"another")
    assert before["file"] == "model.pt" and describe_source(pipeline)["sha256"] != before["sha256"]


@pytest.mark.parametrize(
    ("source", "image", "said"),
    [
        ({"module": "not_there:network"}, SOUND, "not_there:network cannot be imported: No module named 'not_there'"),
        ({"module": f"{MODULE}:other"}, SOUND, "has no attribute 'other'"),
        ({"module": f"{MODULE}:number"}, SOUND, "number is no function"),
        ({"module": f"{MODULE}:no_module"}, SOUND, "returns a int, not a torch.nn.Module"),
        ({"module": f"{MODULE}:fetching"}, SOUND, "fails: OSError: no route to host .it has no network"),
        ({"module": f"{MODULE}:two_answers"}, SOUND, "answers with a tuple, not with a tensor of logits"),
        ({"module": f"{MODULE}:three_classes"}, SOUND, "with 3 logits, but 2 classes are named"),
        ({"file": Path("other.pt")}, SOUND, "source.file: there is no file .*other.pt"),
        ({"file": Path("damaged.pt")}, SOUND, "damaged.pt is no TorchScript, as torch.jit.save writes it: "),
        (SOURCES[0], None, r"tells no classes: name labels and preprocessing in \[image\]"),
        (SOURCES[0], Image(labels=LABELS, preprocessing={}), "image.preprocessing: a batch needs a size"),
        (
            SOURCES[0],
            Image(labels=LABELS, preprocessing={**SIZED, "size": {"height": 8}}),
            "image.preprocessing: .* is not height and width alone",
        ),
        (
            SOURCES[0],
            Image(labels=LABELS, preprocessing={**SIZED, "size": {"height": 9, "width": 6}}),
            r"its network does not take the pixels \[3, 9, 6\] that its preprocessing makes: ",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(
    folder: Path, source: dict[str, Any], image: Image | None, said: str
) -> None:
    with pytest.raises(BuildError, match=said) as refused:
        image_classifier(pipeline_of(folder, image, **source))
    assert "\n" not in str(refused.value)
