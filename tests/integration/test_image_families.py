"""Image classifiers of four families in Hugging Face's form, each made a pipeline by `conch new` and served.

The answers are those of `transformers.pipeline`, whatever the size, mode and format of an image and whoever asks beside
it.

The models are small and without training, and made here; what a published one has besides is only more of the same.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    BertConfig,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessorPil,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    MobileNetV2ImageProcessorPil,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    pipeline,
)
from transformers.image_utils import load_image

from conch_client import Client
from conch_steps.image_decoder import ImageDecoder, Preprocessing
from conch_tools.build.image_classifiers import PixelLogits
from conch_tools.build.pictures import FORMS, noise
from conch_tools.build.run import build
from conch_tools.check import check_repository, render
from conch_tools.errors import BuildError
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.settings import Settings
from image_questions import Ask, as_concurrent_singles, in_batches, one_request

TASK = "image-classification"
TOLERANCE = 1e-3
LABELS = ("cat", "dog", "naïve café", "tree, oak", "東京")
NAMES: dict[str, Any] = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: place for place, label in enumerate(LABELS)},
}
SIZES = ((57, 90), (120, 64), (96, 96), (7, 5))
"""Width and height: wide, tall, square, and smaller than any model takes."""
ROUNDING = 1e-3
"""Of a grey level: of the numbers, not of the pixels."""
OF_ANOTHER_LIBRARY = 2.0
"""Grey levels between Pillow and torchvision, where tiny images are enlarged; one elsewhere."""


@dataclass(frozen=True)
class Family:
    """A small model with its image processor, each with a trait of its own."""

    model: Callable[[], PreTrainedModel]
    processor: Callable[[], Any]


FAMILIES: Mapping[str, Family] = {
    # A crop by crop_pct, as ResNet's published models have it.
    "resnet": Family(
        lambda: ResNetForImageClassification(
            ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], layer_type="basic", **NAMES
            )
        ),
        lambda: ConvNextImageProcessorPil(size={"shortest_edge": 56}, crop_pct=0.875),
    ),
    # An exact size that is no square.
    "vit": Family(
        lambda: ViTForImageClassification(
            ViTConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=(40, 48),
                patch_size=8,
                **NAMES,
            )
        ),
        lambda: ViTImageProcessorPil(size={"height": 40, "width": 48}),
    ),
    # The whole image, warped: crop_pct has no effect from 384 on.
    "convnext": Family(
        lambda: ConvNextForImageClassification(
            ConvNextConfig(
                hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 1, 1], patch_size=16, layer_scale_init_value=1.0, **NAMES
            )
        ),
        lambda: ConvNextImageProcessorPil(size={"shortest_edge": 384}, resample=1),
    ),
    # A shortest edge, a crop that is larger than some images, and any number of classes that fit.
    "mobilenet": Family(
        lambda: MobileNetV2ForImageClassification(
            MobileNetV2Config(depth_multiplier=0.25, image_size=48, problem_type="multi_label_classification", **NAMES)
        ),
        lambda: MobileNetV2ImageProcessorPil(
            size={"shortest_edge": 52}, crop_size={"height": 44, "width": 60}, image_mean=[0.4, 0.5, 0.6]
        ),
    ),
}


def told_apart(model: PreTrainedModel, pixels: torch.Tensor) -> PreTrainedModel:
    """The model with a head that tells these images apart; fresh weights say almost the same of all of them."""
    model.eval()
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
        scale = 2 / logits.std(dim=0)
        head.bias.copy_((head.bias - logits.mean(dim=0)) * scale)
        head.weight.mul_(scale[:, None])
    return model


def save(family: Family, folder: Path) -> Path:
    torch.manual_seed(0)
    processor = family.processor()
    images = [noise(80, 60, seed) for seed in range(16)]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    told_apart(family.model(), pixels).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of each family."""
    root = tmp_path_factory.mktemp("models")
    return {name: save(family, root / name) for name, family in FAMILIES.items()}


OF_TORCH = {"module": 'module = "network_of_a_test:network"', "scripted": 'file = "../../resnet.pt"'}
"""The network of `resnet` as PyTorch has it, by the name of a pipeline."""
CODE = """
from transformers import AutoModelForImageClassification

from conch_tools.build.image_classifiers import PixelLogits


def network():
    return PixelLogits(AutoModelForImageClassification.from_pretrained({folder!r}))
"""
BY_HAND = """
task = "image-classification"
description = "A network of PyTorch's."
[source]
{source}
[image]
labels = {labels}
[image.preprocessing]
do_resize = true
size = {{ shortest_edge = 56 }}
crop_pct = 0.875
resample = 3
do_rescale = true
rescale_factor = 0.00392156862745098
do_normalize = true
image_mean = 0.5
image_std = 0.5
conversion = "pillow"
[[samples]]
input = {{ image = "samples/daisy.png" }}
expect = {{}}
"""


def of_torch(repository: Path, folder: Path) -> None:
    """Pipelines that are `resnet` but for their source, whose images and classes are told by hand."""
    (repository.parent / "network_of_a_test.py").write_text(CODE.format(folder=str(folder)))
    network = PixelLogits(ResNetForImageClassification.from_pretrained(folder)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(2, 3, 56, 56)).save(repository.parent / "resnet.pt")
    for name, source in OF_TORCH.items():
        for model in sorted(repository.glob("resnet*")):
            copy = shutil.copytree(model, repository / model.name.replace("resnet", name))
            config = (copy / "config.pbtxt").read_text()
            (copy / "config.pbtxt").write_text(config.replace('"resnet', f'"{name}'))
        told = BY_HAND.format(source=source, labels=json.dumps(LABELS, ensure_ascii=False))
        (repository / name / "pipeline.toml").write_text(told)


@pytest.fixture(scope="module")
def repository(
    folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory, make_module_settings: Any
) -> Path:
    """What `conch new` and `conch build` make of them."""
    repository = tmp_path_factory.mktemp("checkout") / "repository"
    repository.mkdir()
    settings = make_module_settings(repository.parent, repository)

    def new(name: str) -> list[Path]:
        return new_pipeline(settings, answers(name, {"task": TASK, "source": str(folders[name])}, None))

    with ThreadPoolExecutor(2) as two:
        list(two.map(new, FAMILIES))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository.parent))
        of_torch(repository, folders["resnet"])
        assert sorted(build(settings, load_pipelines(repository), print)) == sorted([*FAMILIES, *OF_TORCH])
    return repository


@pytest.fixture(scope="module")
def client(repository: Path, start_triton: Any) -> Iterator[Client]:
    server = start_triton(repository, models=models_of(load_pipelines(repository)))
    with Client(server.grpc_url, timeout_s=60) as client:
        yield client


IMAGES = [
    form(noise(width, height, seed))
    for seed, (form, (width, height)) in enumerate((form, size) for form in FORMS.values() for size in SIZES)
]


def best(scores: Mapping[str, float]) -> str:
    """The label that comes first."""
    return next(iter(scores))


@pytest.fixture(scope="module")
def expected(folders: Mapping[str, Path]) -> dict[str, list[dict[str, float]]]:
    """Of each family, what transformers' own pipeline says of each image."""
    load: Any = pipeline  # its overloads know no folder that is only known when it runs
    found = {}
    for name, folder in folders.items():
        ask = load(TASK, model=str(folder), top_k=len(LABELS))
        found[name] = [
            {each["label"]: each["score"] for each in ask(Image.open(io.BytesIO(image)))} for image in IMAGES
        ]
    return found | dict.fromkeys(OF_TORCH, found["resnet"])


@pytest.mark.parametrize("ask", [in_batches, as_concurrent_singles])
@pytest.mark.parametrize("name", [*FAMILIES, *OF_TORCH])
def test_labels_and_scores_are_those_of_transformers(
    client: Client,
    expected: Mapping[str, list[dict[str, float]]],
    name: str,
    ask: Ask,
) -> None:
    answered = ask(client, name, IMAGES)
    assert list(map(best, answered)) == list(map(best, expected[name]))
    for scores, wanted in zip(answered, expected[name], strict=True):
        assert scores == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_models_tell_these_images_apart(expected: Mapping[str, list[dict[str, float]]], name: str) -> None:
    labels = list(map(best, expected[name]))
    assert len(set(labels)) >= 3 and max(map(labels.count, labels)) < 0.8 * len(labels)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_written_has_no_faults(repository: Path, tmp_path: Path, name: str) -> None:
    for model in repository.glob(f"{name}*"):
        shutil.copytree(model, tmp_path / model.name)
    assert render(check_repository(tmp_path, Settings().backends)) == "no faults found"


def test_a_batch_is_no_larger_than_shared_memory_holds(repository: Path) -> None:
    assert "max_batch_size: 16\n" in (repository / "convnext_decode" / "config.pbtxt").read_text()
    assert "max_batch_size: 64\n" in (repository / "vit_decode" / "config.pbtxt").read_text()


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_are_pictures_that_are_answered_as_the_source_does(repository: Path, client: Client, name: str) -> None:
    (written,) = load_pipelines(repository, [name])
    assert len(written.samples) == 2
    for sample in written.samples:
        (scores,) = one_request(client, name, [(written.folder / sample.input["image"]).read_bytes()])
        assert sample.expect == {"label": best(scores)}


@pytest.mark.parametrize(("backend", "tolerance"), [("pil", ROUNDING), ("torchvision", OF_ANOTHER_LIBRARY + ROUNDING)])
@pytest.mark.parametrize("name", FAMILIES)
def test_pixels_are_those_of_the_models_own_image_processor(
    repository: Path, folders: Mapping[str, Path], name: str, backend: str, tolerance: float
) -> None:
    if backend != "pil":
        pytest.importorskip(backend)
    processor = AutoImageProcessor.from_pretrained(folders[name], backend=backend)
    settings = Preprocessing.from_file(repository / f"{name}_decode" / "1" / "preprocessor_config.json")
    decoder = ImageDecoder(settings)
    for form in FORMS.values():
        for width, height in SIZES:
            raw = form(noise(width, height, width))
            image = load_image(Image.open(io.BytesIO(raw)))
            own = processor(images=image, return_tensors="np")["pixel_values"]
            made = decoder.decode(np.array([[raw]], dtype=np.object_))
            off = np.abs(made - own) * settings.std / settings.rescale_factor
            assert off.max() <= tolerance, (width, height)


def without_head(folder: Path) -> None:
    """What training starts from: only the process that loads the weights can tell."""
    ResNetModel(ResNetConfig(hidden_sizes=[4, 4], depths=[1, 1], embedding_size=4)).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 32}).save_pretrained(folder)


def of_texts(folder: Path) -> None:
    BertConfig().save_pretrained(folder)


@pytest.mark.parametrize(
    ("save", "said"),
    [
        (without_head, "is no image classifier: it has no weights for classifier.1.bias"),
        (of_texts, "`bert`, of which transformers has no image classifier"),
    ],
)
def test_a_source_that_is_no_image_classifier_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, make_settings: Any, save: Callable[[Path], None], said: str
) -> None:
    save(tmp_path / "model")
    (tmp_path / "repository").mkdir()
    settings = make_settings(tmp_path / "repository")
    with pytest.raises(BuildError, match=said):
        new_pipeline(settings, answers("photos", {"task": TASK, "source": str(tmp_path / "model")}, None))
    assert not list(settings.repository.iterdir()) and not settings.state.exists()
