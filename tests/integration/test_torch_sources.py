"""Networks of PyTorch's own: `conch new`, `conch build` and a server, and the network's own answers.

A function, TorchScript and an archive of TorchServe's are each added and served as it was written, all by one server.
What makes pixels here is torchvision's arithmetic and not the step's, except where pipeline.toml says how.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from conch_client import Client
from conch_tools.build import networks
from conch_tools.build.pictures import FORMS, noise
from conch_tools.build.run import build
from conch_tools.build.torchvision_images import pixels
from conch_tools.check import check_repository
from conch_tools.errors import BuildError, SettingsError
from conch_tools.new import run
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.settings import Settings
from image_questions import Ask, as_concurrent_singles, in_batches, one_request
from torch_sources import NETWORK, asked_here, save_traced, write_archive
from workers_here import one_after_the_other

MakeSettings = Callable[..., Settings]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
LIMIT_S = 120
TOLERANCE = 1e-3
LABELS = ["daisy", "rose, red", "東京", "tulip", "weed"]
SIZES = ((57, 90), (301, 64), (257, 225))
"""Width and height; resized, the margins of some have half a pixel."""
IMAGES = [form(noise(*size, seed)) for seed, (form, size) in enumerate((f, s) for f in FORMS.values() for s in SIZES)]
SMALL = {"do_resize": True, "size": {"height": 28, "width": 42}, "do_rescale": True, "rescale_factor": 0.01}
ROWS = [[round(float(value), 3) for value in row] for row in np.random.default_rng(0).normal(size=(40, 4))]
CODE = """
import torch


def images():
    from patches import Patches

    network = Patches()
    network.load_state_dict(torch.load({weights!r}))
    return network


def table():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
"""


@dataclass(frozen=True)
class Served:
    """Every source, built and served."""

    settings: Settings
    client: Client
    network: torch.nn.Module
    table: torch.nn.Module
    said: str
    """What `conch new` said of the first one."""


def told_apart(network: Any) -> Any:
    """The network with a head that tells these images apart; fresh weights say almost the same of all of them."""
    batch = torch.from_numpy(np.stack([pixels(image) for image in IMAGES]))
    with torch.no_grad():
        logits = network(batch)
        scale = 2 / logits.std(dim=0)
        network.classes.bias.copy_((network.classes.bias - logits.mean(dim=0)) * scale)
        network.classes.weight.mul_(scale[:, None])
    return network.eval()


def save_sources(folder: Path) -> tuple[Any, Any]:
    """Code, weights, TorchScript and an archive; returns the networks."""
    (folder / "patches.py").write_text(NETWORK)
    (folder / "flowers_of_a_test.py").write_text(CODE.format(weights=str(folder / "weights.pt")))
    defined: dict[str, Any] = {}
    exec(NETWORK, defined)
    network = told_apart(defined["Patches"]())
    torch.save(network.state_dict(), folder / "weights.pt")
    labels = json.dumps({str(index): [f"n{index}", name] for index, name in enumerate(LABELS)})
    content = {
        "patches.py": NETWORK,
        "weights.pt": (folder / "weights.pt").read_bytes(),
        "index_to_name.json": labels,
    }
    write_archive(folder / "archived.mar", content, modelFile="patches.py", serializedFile="weights.pt")
    save_traced(network, [3, 28, 42], folder / "scripted.pt")
    (folder / "preprocessor_config.json").write_text(json.dumps(SMALL))
    (folder / "labels.txt").write_text("\n".join(LABELS))
    code: dict[str, Any] = {}
    exec((folder / "flowers_of_a_test.py").read_text(), code)
    return network, code["table"]().eval()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    make_module_settings: MakeSettings,
    spawn_conch: SpawnConch,
    start_triton: Any,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("checkout")
    settings = make_module_settings(folder, folder / "repository")
    settings.repository.mkdir()
    network, table = save_sources(folder)

    def new(name: str, task: str, source: str, trusted: bool = False, **told: str) -> None:
        new_pipeline(settings, answers(name, {"task": task, "source": source, **told}, None, trusted))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        first = ("photos", "--task", "image-classification", "--source", "module:flowers_of_a_test:images", "--yes")
        log = folder / "new.log"
        added = spawn_conch("new", *first, "--labels", str(folder / "labels.txt"), settings=settings, log=log)
        assert added.wait(LIMIT_S) == 0, log.read_text()
        with pytest.MonkeyPatch.context() as here:
            # The others are added in this process: torch is here already, and a build asks them apart.
            here.syspath_prepend(str(folder))
            here.setattr(run, "in_workers", one_after_the_other)
            here.setattr(networks, "ask_apart", asked_here(tmp_path_factory))
            new("archived", "image-classification", str(folder / "archived.mar"), trusted=True)
            small = str(folder / "preprocessor_config.json")
            new("scripted", "image-classification", str(folder / "scripted.pt"), preprocessing=small)
            new("rows", "tabular-classification", "module:flowers_of_a_test:table", labels="low, middle, high")
        assert len(build(settings, load_pipelines(settings.repository), print)) == 4
    server = start_triton(settings.repository, models=models_of(load_pipelines(settings.repository)))
    with Client(server.grpc_url, timeout_s=60) as client:
        yield Served(settings, client, network, table, log.read_text())


def softmax(logits: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(torch.softmax(logits, dim=1).detach().numpy())


@pytest.mark.parametrize("ask", [in_batches, as_concurrent_singles])
@pytest.mark.parametrize("name", ["photos", "archived"])
def test_labels_and_scores_of_images_are_those_of_the_network(served: Served, name: str, ask: Ask) -> None:
    with torch.no_grad():
        expected = softmax(served.network(torch.from_numpy(np.stack([pixels(image) for image in IMAGES]))))
    assert len(set(expected.argmax(axis=1))) >= 3
    for scores, wanted in zip(ask(served.client, name, IMAGES), expected, strict=True):
        assert scores == pytest.approx(dict(zip(LABELS, wanted.tolist(), strict=True)), abs=TOLERANCE)
        assert next(iter(scores)) == LABELS[int(wanted.argmax())]


def test_torchscript_sees_the_pixels_that_a_preprocessor_config_says(served: Served) -> None:
    from PIL import Image

    image = noise(90, 57, 1)
    raw = io.BytesIO()
    image.save(raw, "PNG")
    resized = np.asarray(image.resize((42, 28), Image.Resampling.BILINEAR), np.float32).transpose(2, 0, 1) * 0.01
    (scores,) = one_request(served.client, "scripted", [raw.getvalue()])
    with torch.no_grad():
        wanted = softmax(served.network(torch.from_numpy(resized[None])))[0]
    assert [scores[f"class_{index}"] for index in range(5)] == pytest.approx(wanted.tolist(), abs=TOLERANCE)


def test_rows_are_answered_as_the_network_does(served: Served) -> None:
    rows = [{f"feature_{index}": value for index, value in enumerate(row)} for row in ROWS]
    found = served.client.score(rows, "rows")
    with torch.no_grad():
        expected = softmax(served.table(torch.tensor(ROWS)))
    scores = [[answer.scores[label] for label in ("low", "middle", "high")] for answer in found]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_what_nobody_said_is_said_when_it_is_written(served: Served) -> None:
    assert "note: [image.preprocessing] is as most image classifiers of PyTorch's are measured" in served.said
    assert "numbered" not in served.said


@pytest.mark.parametrize("name", ["photos", "archived", "scripted", "rows"])
def test_what_was_written_passes_the_check(served: Served, tmp_path: Path, name: str) -> None:
    for model in served.settings.repository.glob(f"{name}*"):
        shutil.copytree(model, tmp_path / model.name)
    assert check_repository(tmp_path, served.settings.backends) == []


@pytest.mark.parametrize(
    ("task", "source", "trusted", "told", "said"),
    [
        ("image-classification", "a.mar", False, {}, "is an archive of TorchServe's: loading it runs the code"),
        ("image-classification", "custom.mar", True, {}, "has the handler mine.py, whose code cannot be translated"),
        ("image-classification", "out.mar", True, {}, "would be written outside of its folder"),
        ("image-classification", "a.mar", True, {"labels": "a,b"}, "--labels: this source names its classes itself"),
        ("tabular-classification", "a.mar", True, {}, "is known for images only: give the network alone"),
        ("text-classification", "a.mar", True, {}, "its source names no model: set hub, folder or package"),
        ("image-classification", "none.pt", False, {}, "there is no such file"),
        ("image-classification", "module:nowhere:network", False, {}, "source.module nowhere:network cannot be imp"),
        ("image-classification", "module:nowhere", False, {}, "a function is named module:PACKAGE.MODULE:FUNCTION"),
    ],
)
def test_a_source_that_cannot_be_served_is_refused_in_one_sentence_and_nothing_is_written(
    tmp_path: Path,
    make_settings: MakeSettings,
    task: str,
    source: str,
    trusted: bool,
    told: Mapping[str, str],
    said: str,
) -> None:
    settings = make_settings(tmp_path / "repository")
    settings.repository.mkdir()
    write_archive(tmp_path / "a.mar", {"patches.py": NETWORK}, modelFile="patches.py")
    write_archive(tmp_path / "custom.mar", {"patches.py": NETWORK}, modelFile="patches.py", handler="mine.py")
    write_archive(tmp_path / "out.mar", {"patches.py": NETWORK, "../b": ""}, modelFile="patches.py")
    named = source if source.startswith("module:") else str(tmp_path / source)
    with pytest.raises((BuildError, SettingsError)) as refused:
        new_pipeline(settings, answers("mine", {"task": task, "source": named, **told}, None, trusted))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not any(settings.repository.iterdir()) and not any(settings.state.glob("new-*"))
