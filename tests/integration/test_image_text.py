"""`image_text` on the running server: the caller's labels ranked for each image, whatever the batch, and bad requests
that fail alone; and any folder with a CLIPModel in the place of Conch's own.
"""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BertConfig,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    pipeline,
)

from conch_client import Client, InvalidInput
from conch_tools.build.image_text import WORDS
from conch_tools.build.pictures import FORMS, noise
from conch_tools.build.run import build
from conch_tools.check import check_repository, render
from conch_tools.errors import BuildError
from conch_tools.new.questions import answers
from conch_tools.new.run import new_pipeline
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings
from conch_tools.training import image_text as training
from conch_tools.training._shapes import COLOURS, SHAPES, Scene, draw

TOLERANCE = 1e-4
CALLERS = 16
TASK = "zero-shot-image-classification"
LABELS = ["a red star", "a blue circle", "a green heart", "a pink cross", "something 🙂 שלום"]


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url, timeout_s=60) as client:
        yield client


@pytest.fixture(scope="module")
def transformers_pipeline() -> Any:
    """The reference, loaded from Conch's own folder as from any other."""
    load: Any = pipeline  # its overloads know no tokenizer of unknown kind
    return load(
        TASK,
        model=CLIPModel.from_pretrained(training.folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(training.folder),
        image_processor=AutoImageProcessor.from_pretrained(training.folder),
    )


def picture(colour: str, shape: str, seed: int = 0) -> Image.Image:
    return draw(Scene(colour, shape, "large"), random.Random(seed))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def batch(images: Sequence[bytes], labels: Sequence[Sequence[str | bytes]]) -> dict[str, npt.NDArray[np.object_]]:
    raw = [[each.encode() if isinstance(each, str) else each for each in row] for row in labels]
    return {
        "image": np.array([[image] for image in images], dtype=np.object_),
        "labels": np.array(raw, dtype=np.object_).reshape(len(images), -1),
    }


def test_a_picture_is_given_its_label(client: Client) -> None:
    answer = client.match(png(picture("red", "star")), LABELS)
    assert answer.label == "a red star" and answer.score > 0.5
    assert set(answer.scores) == set(LABELS)
    assert sum(answer.scores.values()) == pytest.approx(1, abs=TOLERANCE)


def test_several_images_give_a_list_in_their_order(client: Client, tmp_path: Path) -> None:
    picture("blue", "circle").save(tmp_path / "circle.png")
    answers = client.match([picture("green", "heart"), str(tmp_path / "circle.png")], LABELS, top_k=2)
    assert [answer.label for answer in answers] == ["a green heart", "a blue circle"]
    assert [len(answer.scores) for answer in answers] == [2, 2]
    assert client.match([], LABELS) == []
    assert len(client.match([picture("green", "heart")], LABELS)) == 1


@pytest.mark.parametrize("template", [None, "a drawing of {}", "{}"])
@pytest.mark.parametrize("count", [1, 3, 63])
def test_labels_and_scores_are_those_of_transformers(
    client: Client, transformers_pipeline: Any, template: str | None, count: int
) -> None:
    labels = list(training.labels)[:count]
    image = picture("red", "circle", seed=5)
    own = {} if template is None else {"hypothesis_template": template}
    expected = transformers_pipeline(image, candidate_labels=labels, **own)
    answer = client.match(image, labels, hypothesis_template=template)
    assert answer.label == expected[0]["label"]
    for each in expected:
        assert answer.scores[each["label"]] == pytest.approx(each["score"], abs=TOLERANCE)


def test_a_thousand_labels_are_ranked_as_transformers_does(client: Client, transformers_pipeline: Any) -> None:
    labels = [f"{label} number {number}" for number in range(16) for label in training.labels][:1000]
    image = picture("yellow", "ring")
    expected = transformers_pipeline(image, candidate_labels=labels)
    answer = client.infer("image_text", inputs=batch([png(image)], [labels]))
    assert answer["label"].shape == (1, 1000)
    np.testing.assert_allclose(answer["score"][0], [each["score"] for each in expected], atol=TOLERANCE)


def test_batches_singles_and_mixes_give_the_same(client: Client) -> None:
    chance = random.Random(1)
    images = [png(picture(chance.choice(list(COLOURS)), chance.choice(SHAPES), seed)) for seed in range(32)]
    rows = [chance.sample(list(training.labels), 5) for _ in images]
    together = client.infer("image_text", inputs=batch(images, rows))
    with ThreadPoolExecutor(CALLERS) as callers:
        alone = list(
            callers.map(
                lambda pair: client.infer("image_text", inputs=batch(*pair)),
                [([i], [r]) for i, r in zip(images, rows, strict=True)],
            )
        )
    for number, answer in enumerate(alone):
        assert answer["label"][0].tolist() == together["label"][number].tolist()
        np.testing.assert_allclose(answer["score"][0], together["score"][number], atol=1e-5)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"labels": []}, "names no labels"),
    "an empty label": ({"labels": ["a star", ""]}, r"`labels`\[0\]\[1\] is empty"),
    "a repeated label": ({"labels": ["a star", "a star"]}, "'a star' twice"),
    "no UTF-8": ({"labels": [b"\xff\xfe"]}, "not UTF-8"),
    "a label over the limit": ({"labels": ["star " * 60]}, "the model's limit is 32"),
    "a broken image": ({"image": b"\x89PNG\r\n\x1a\nbroken"}, "image"),
    "no image": ({"image": b""}, "image"),
    "a template without a place": ({"hypothesis_template": "a photo"}, "hypothesis_template"),
    "a template with two": ({"hypothesis_template": "{} {}"}, "hypothesis_template"),
    "top_k zero": ({"top_k": 0}, "top_k"),
}


def test_bad_requests_fail_alone_among_good_ones(client: Client) -> None:
    image = png(picture("red", "star"))
    alone = client.infer("image_text", inputs=batch([image], [LABELS]))
    cases = list(BAD.values())

    def ask(number: int) -> Any:
        if number % 2:
            return client.infer("image_text", inputs=batch([image], [LABELS]))
        changes, message = cases[number // 2 % len(cases)]
        inputs = batch([changes.get("image", image)], [changes.get("labels", LABELS)])
        parameters = {key: value for key, value in changes.items() if key not in inputs}
        with pytest.raises(InvalidInput, match=message):
            client.infer("image_text", inputs=inputs, parameters=parameters)
        return None

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(8 * len(cases))))
    for answer in answers[1::2]:
        assert answer["label"].tolist() == alone["label"].tolist()
        np.testing.assert_allclose(answer["score"], alone["score"], atol=1e-5)


def test_a_text_in_the_place_of_labels_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidInput, match="labels is a list of texts"):
        client.match(picture("red", "star"), "a red star")


def random_clip(folder: Path) -> None:
    """A CLIPModel without training, of other sizes than Conch's own, that finds a text's end as OpenAI's files do: by
    its highest id, because their config names a wrong one."""
    known = " ".join(["this is a photo of . house landscape daisy city night", *WORDS])
    words = ["<unk>", *dict.fromkeys(known.split()), "<begin>", "<end>"]
    ids = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(word, ids[word]) for word in ("<begin>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<begin> $A <end>", special_tokens=special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<begin>", eos_token="<end>", pad_token="<end>"
    ).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(words), "max_position_embeddings": 20, "eos_token_id": 2, "bos_token_id": 0}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={**size, "image_size": 40, "patch_size": 10}, projection_dim=24)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 44}, crop_size={"height": 40, "width": 40}).save_pretrained(folder)


@pytest.fixture(scope="module")
def of_a_user(
    tmp_path_factory: pytest.TempPathFactory, make_module_settings: Any, start_triton: Any
) -> Iterator[tuple[Path, Client]]:
    """A folder with a CLIPModel, and a server of it twice: in the place of Conch's own, and as `conch new` has it."""
    root = tmp_path_factory.mktemp("clip")
    folder, repository = root / "model", root / "repository"
    random_clip(folder)
    for model in Settings().repository.glob("image_text*"):
        shutil.copytree(model, repository / model.name, ignore=shutil.ignore_patterns("1"))
    (repository / "image_text" / "pipeline.toml").write_text(
        f'task = "{TASK}"\ndescription = "A model of the user."\n[source]\nfolder = "{folder}"\n'
        '[[samples]]\ninput = { image = "samples/star.png", labels = ["cat", "dog"] }\nexpect = {}\n'
    )
    settings = make_module_settings(root, repository)
    new_pipeline(settings, answers("pictures", {"task": TASK, "source": str(folder)}, None))
    assert sorted(build(settings, load_pipelines(repository), print)) == ["image_text", "pictures"]
    server = start_triton(repository, models=models_of(load_pipelines(repository)))
    with Client(server.grpc_url) as client:
        yield folder, client


@pytest.mark.parametrize("name", ["image_text", "pictures"])
def test_any_folder_with_a_clip_model_is_served_as_transformers_answers(
    of_a_user: tuple[Path, Client], name: str
) -> None:
    folder, client = of_a_user
    load: Any = pipeline
    reference = load(TASK, model=str(folder))
    labels = ["cat", "dog", "bicycle", "a house", "a dog of a house"]
    for form in FORMS.values():
        raw = form(noise(90, 60, 1))
        (scores,) = scores_of(client, name, raw, labels)
        wanted = reference(Image.open(io.BytesIO(raw)), candidate_labels=labels)
        assert scores == pytest.approx({each["label"]: each["score"] for each in wanted}, abs=TOLERANCE)
    with pytest.raises(InvalidInput, match="the model's limit is 20"):
        scores_of(client, name, raw, ["dog " * 20])


def scores_of(client: Client, name: str, image: bytes, labels: Sequence[str]) -> list[dict[str, float]]:
    answer = client.infer(name, inputs=batch([image], [labels]))
    return [
        dict(zip(row, scores, strict=True))
        for row, scores in zip(answer["label"].tolist(), answer["score"].tolist(), strict=True)
    ]


def test_what_conch_new_writes_has_no_faults_and_samples_that_hold(of_a_user: tuple[Path, Client]) -> None:
    folder, client = of_a_user
    repository = folder.parent / "repository"
    assert render(check_repository(repository, Settings().backends)) == "no faults found"
    (pictures,) = load_pipelines(repository, ["pictures"])
    for sample in pictures.samples:
        raw = (pictures.folder / sample.input["image"]).read_bytes()
        (scores,) = scores_of(client, "pictures", raw, sample.input["labels"])
        assert sample.expect == {"label": next(iter(scores))}


def test_a_folder_without_a_clip_model_is_refused_and_leaves_nothing_behind(tmp_path: Path, make_settings: Any) -> None:
    BertConfig().save_pretrained(tmp_path / "model")
    (tmp_path / "repository").mkdir()
    settings = make_settings(tmp_path / "repository")
    with pytest.raises(BuildError, match="its source is of the architecture `bert`, not clip"):
        new_pipeline(settings, answers("pictures", {"task": TASK, "source": str(tmp_path / "model")}, None))
    assert not list(settings.repository.iterdir()) and not settings.state.exists()
