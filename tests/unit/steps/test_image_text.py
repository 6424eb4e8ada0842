"""The caller's labels are ranked by their fit; the text model is asked once for what is asked again and again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from conch_steps.errors import ArtifactError, CallFailed, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.image_text import ImageText, Sentences, TextSide

WORDS = ("?", "a", "cat", "dog", "cow", "photo", "of")
LIMIT = 8


class TextModel:
    """Embeds a sentence as the unit vector of its last word, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.error: Exception | None = None

    def __call__(self, rows: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        if self.error:
            raise self.error
        self.asked.extend(list(row) for row in rows)
        return [np.eye(len(WORDS), dtype=np.float32)[row[-1]] for row in rows]


@pytest.fixture
def text_model() -> TextModel:
    return TextModel()


@pytest.fixture
def sentences(tmp_path: Path) -> Sentences:
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Sentences(tmp_path / "tokenizer.json", LIMIT)


def seen(*words: str) -> npt.NDArray[np.float32]:
    """Embeddings of images that show these words, the first one most of all."""
    vector = np.zeros(len(WORDS), dtype=np.float32)
    for place, word in enumerate(words):
        vector[WORDS.index(word)] = 1 / (place + 1)
    return (vector / np.linalg.norm(vector))[None]


def labels(*rows: Sequence[str | bytes]) -> npt.NDArray[np.object_]:
    raw = [[each.encode() if isinstance(each, str) else each for each in row] for row in rows]
    return np.array(raw, dtype=np.object_).reshape(len(rows), -1)


@pytest.fixture
def image_text(sentences: Sentences, text_model: TextModel) -> ImageText:
    return ImageText(sentences, text_model, 10.0, "a photo of {}")


def test_labels_are_ranked_by_the_scaled_cosine(image_text: ImageText) -> None:
    answer = image_text.match(seen("dog", "cat"), labels(["cow", "cat", "dog"]))
    assert answer["label"].tolist() == [[b"dog", b"cat", b"cow"]]
    logits = 10 * np.array([2, 1, 0]) / 5**0.5
    np.testing.assert_allclose(answer["score"][0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)


def test_each_image_is_compared_with_its_own_labels(image_text: ImageText) -> None:
    images = np.concatenate([seen("cat"), seen("cow")])
    answer = image_text.match(images, labels(["dog", "cat"], ["cow", "dog"]))
    assert answer["label"].tolist() == [[b"cat", b"dog"], [b"cow", b"dog"]]


def test_a_single_label_has_the_whole_score(image_text: ImageText) -> None:
    assert image_text.match(seen("cat"), labels(["dog"]))["score"].tolist() == [[1.0]]


def test_a_label_is_asked_of_the_text_model_once(image_text: ImageText, text_model: TextModel) -> None:
    for _ in range(2):
        image_text.match(np.concatenate([seen("cat")] * 2), labels(["cat", "dog"], ["dog", "cow"]))
    assert sorted(row[-1] for row in text_model.asked) == [2, 3, 4]


def test_the_label_not_used_for_longest_is_forgotten_first(sentences: Sentences, text_model: TextModel) -> None:
    image_text = ImageText(sentences, text_model, 1.0, "{}", kept=2)
    for row in (["cat", "dog"], ["cat"], ["cow"], ["cat"], ["dog"]):
        image_text.match(seen("cat"), labels(row))
    assert [WORDS[row[-1]] for row in text_model.asked] == ["cat", "dog", "cow", "dog"]


def test_a_request_may_have_more_labels_than_are_kept(sentences: Sentences, text_model: TextModel) -> None:
    image_text = ImageText(sentences, text_model, 1.0, "{}", kept=1)
    image_text.match(seen("cat"), labels(["cat"]))
    assert image_text.match(seen("dog"), labels(["cat", "dog", "cow"]))["label"][0, 0] == b"dog"


def test_the_request_may_bring_its_own_template(image_text: ImageText, text_model: TextModel) -> None:
    image_text.match(seen("cat"), labels(["cat"]), template="a {}")
    assert text_model.asked == [[1, 2]]


def test_top_k_limits_what_is_answered(image_text: ImageText) -> None:
    answer = image_text.match(seen("dog"), labels(["cow", "cat", "dog"]), top_k=1)
    assert answer["label"].tolist() == [[b"dog"]] and answer["score"].shape == (1, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "names no labels"),
        (["cat", ""], r"`labels`\[0\]\[1\] is empty"),
        (["cat", " \t"], r"`labels`\[0\]\[1\] is empty"),
        (["cat", "dog", "cat"], "'cat' twice"),
        (["cat", b"\xff"], r"`labels`\[0\]\[1\] is not UTF-8"),
        (["cat " * 6], "has 9 tokens, the model's limit is 8"),
        (["x" * 5000], "5000 bytes"),
    ],
)
def test_labels_that_cannot_be_answered_are_refused(
    image_text: ImageText, row: Sequence[str | bytes], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        image_text.match(seen("cat"), labels(row))
    assert image_text.match(seen("cat"), labels(["cat", "dog"]))["label"][0, 0] == b"cat"


@pytest.mark.parametrize("template", ["no place", "{} and {}", "", 7])
def test_a_template_has_one_place_for_the_label(image_text: ImageText, template: object) -> None:
    with pytest.raises(InvalidInput, match="hypothesis_template"):
        image_text.match(seen("cat"), labels(["cat"]), template=template)


def test_a_configured_template_without_a_place_is_not_loaded(sentences: Sentences, text_model: TextModel) -> None:
    with pytest.raises(ModelConfigError, match="hypothesis_template"):
        ImageText(sentences, text_model, 1.0, "a photo")


def test_too_many_different_labels_are_refused_however_they_are_spread(
    sentences: Sentences, text_model: TextModel
) -> None:
    image_text = ImageText(sentences, text_model, 1.0, max_labels=2)
    images = np.concatenate([seen("cat")] * 2)
    with pytest.raises(InvalidInput, match="3 different labels, the limit is 2"):
        image_text.match(images, labels(["cat", "dog"], ["cat", "cow"]))
    image_text.match(images, labels(["cat", "dog"], ["dog", "cat"]))


def test_images_and_rows_of_labels_go_together(image_text: ImageText) -> None:
    with pytest.raises(InvalidInput, match="has 1 rows for 2 images"):
        image_text.match(np.concatenate([seen("cat")] * 2), labels(["cat"]))


def test_embeddings_of_different_models_are_noticed(image_text: ImageText) -> None:
    with pytest.raises(WrongAnswer, match="a label has 7 numbers and an image 3"):
        image_text.match(np.ones((1, 3), dtype=np.float32), labels(["cat"]))


def test_what_the_text_model_answered_wrongly_is_not_kept(image_text: ImageText, text_model: TextModel) -> None:
    text_model.error = CallFailed("words", "queue is full")
    with pytest.raises(CallFailed):
        image_text.match(seen("cat"), labels(["cat", "dog"]))
    text_model.error = None
    assert image_text.match(seen("cat"), labels(["cat", "dog"]))["label"][0, 0] == b"cat"


def test_what_is_not_a_number_is_no_score(image_text: ImageText) -> None:
    with pytest.raises(WrongAnswer, match="NaN"):
        image_text.match(np.full((1, 7), np.nan, dtype=np.float32), labels(["cat", "dog"]))


def test_the_text_side_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "match.json"
    with pytest.raises(ArtifactError, match="conch build"):
        TextSide.from_file(path)
    path.write_text(json.dumps({"logit_scale": 100.0, "max_tokens": 77}))
    assert TextSide.from_file(path) == TextSide(100.0, 77)
    for content in ("{}", "[]", "[" * 100_000, '{"logit_scale": 1, "max_tokens": Infinity}'):
        path.write_text(content)
        with pytest.raises(ModelConfigError, match=r"match\.json"):
            TextSide.from_file(path)


def test_a_tokenizer_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="conch build"):
        Sentences(tmp_path / "tokenizer.json", 77)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelConfigError, match="not a tokenizer"):
        Sentences(tmp_path / "tokenizer.json", 77)
