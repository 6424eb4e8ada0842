"""Which of the caller's own labels fits an image: CLIP's comparison of an image embedding with those of the labels.

Each label is put into a sentence (`This is a photo of {}.`, transformers' default, or the caller's), because that is
what such models have read. A service asks for the same few labels again and again, so the embeddings of sentences
are kept and only new ones are asked of the text model.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.calls import MAX_ROWS
from conch_steps.class_labels import ClassLabels
from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.parameters import TOKEN_TENSORS, CalledModel, Declaration, Parameter, named, whole_number
from conch_steps.serving import StepModel
from conch_steps.text_tokenizer import TOKENIZER_FILE, read_tokenizer
from conch_steps.zero_shot import SLOT, TEMPLATE_WANTED, checked_labels, checked_template

Vector = npt.NDArray[np.float32]
EmbedRows = Callable[[Sequence[Sequence[int]]], Sequence[Vector]]
"""The text model: rows of token ids to embeddings of length one, FP32 [dim] each."""

DEFAULT_TEMPLATE = f"This is a photo of {SLOT}."
MAX_LABELS = 4096
"""Different labels of one request: a text model takes a second or more for as many, while everyone else waits."""
KEPT_EMBEDDINGS = 4096
"""512 numbers each: 8 MB."""
SIDE_FILE = "match.json"
MODEL = named("model", "the name of the model that embeds labels")
TEMPLATE = Parameter("hypothesis_template", TEMPLATE_WANTED, checked_template, DEFAULT_TEMPLATE)
KEPT = whole_number("kept_embeddings", KEPT_EMBEDDINGS)
LABELS_OF_A_REQUEST = whole_number("max_labels", MAX_LABELS)


@dataclass(frozen=True)
class TextSide:
    """What the text model was trained with, from match.json."""

    logit_scale: float
    """Factor of the cosine similarities before the softmax."""
    max_tokens: int
    """Longest sentence that the text model takes, special tokens included."""

    @classmethod
    def load(cls, model: StepModel) -> TextSide:
        """From the model's version folder. Raises ArtifactError or ModelConfigError."""
        return cls.from_file(model.version_folder / SIDE_FILE)

    @classmethod
    def from_file(cls, path: Path) -> TextSide:
        """Read match.json. Raises ArtifactError when absent, ModelConfigError when not usable."""
        if not path.is_file():
            raise ArtifactError(f"{path} is missing: run `conch build`")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(float(content["logit_scale"]), int(content["max_tokens"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as problem:
            raise ModelConfigError(f"{path} is not usable: {problem}") from problem


class Sentences:
    """Labels put into a template and tokenised, up to what the text model takes."""

    def __init__(self, tokenizer_file: Path, max_tokens: int) -> None:
        self._tokenizer = read_tokenizer(tokenizer_file)
        self._tokenizer.no_padding()
        # Cut, two long labels could become one without a word; refused, the caller knows.
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens

    @classmethod
    def load(cls, model: StepModel) -> Sentences:
        """From the model's version folder. Raises ArtifactError or ModelConfigError."""
        return cls(model.version_folder / TOKENIZER_FILE, TextSide.load(model).max_tokens)

    def ids(self, sentences: Sequence[str]) -> list[list[int]]:
        """Token ids of each sentence. Raises InvalidInput naming the first that is too long."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(sentences))]
        for sentence, row in zip(sentences, rows, strict=True):
            if len(row) > self._max_tokens:
                raise InvalidInput(
                    f"{_short(sentence)} has {len(row)} tokens, the model's limit is {self._max_tokens}: shorten the "
                    "label or `hypothesis_template`"
                )
        return rows


DECLARED = Declaration(
    (MODEL, MAX_ROWS, TEMPLATE, KEPT, LABELS_OF_A_REQUEST),
    {SIDE_FILE: TextSide.load, TOKENIZER_FILE: Sentences.load},
    (CalledModel(MODEL, MAX_ROWS, TOKEN_TENSORS, "embedding"),),
)


class ImageText:
    """Ranks each image's labels by their fit."""

    def __init__(
        self,
        sentences: Sentences,
        embed: EmbedRows,
        logit_scale: float,
        template: str = DEFAULT_TEMPLATE,
        kept: int = KEPT_EMBEDDINGS,
        max_labels: int = MAX_LABELS,
    ) -> None:
        self._sentences = sentences
        self._embed = embed
        self._scale = np.float32(logit_scale)
        self._template = _configured(template)
        self._kept = kept
        self._max_labels = max_labels
        self._cache: OrderedDict[str, Vector] = OrderedDict()

    def match(
        self, images: Vector, labels: npt.NDArray[np.object_], template: object = None, top_k: object = None
    ) -> dict[str, npt.NDArray[Any]]:
        """`label` BYTES [n, k] and `score` FP32 [n, k], best first.

        `images` are embeddings of length one, FP32 [n, dim]; `labels` BYTES [n, k] are each image's own. `template` is
        the caller's `hypothesis_template`, `top_k` how many to answer; None is the configured one, and all. Raises
        InvalidInput for labels, templates and `top_k` that cannot be answered, WrongAnswer for embeddings that do not
        go together, and what the text model's call raises.
        """
        if not len(images):
            raise InvalidInput("`image` has no rows: send at least one image")
        rows = _label_rows(labels, len(images))
        frame = self._template if template is None else checked_template(template)
        vectors = self._vectors(list(dict.fromkeys(label for row in rows for label in row)), frame)
        ranked = []
        for image, row in zip(images, rows, strict=True):
            matrix = np.stack([vectors[label] for label in row])
            if matrix.shape[1:] != image.shape:
                raise WrongAnswer(f"a label has {matrix.shape[1]} numbers and an image {len(image)}: build both anew")
            ranked.append(ClassLabels(row, "softmax").rank((self._scale * (matrix @ image))[None], top_k))
        return {name: np.concatenate([each[name] for each in ranked]) for name in ("label", "score")}

    def _vectors(self, labels: Sequence[str], frame: str) -> dict[str, Vector]:
        """The embedding of each label's sentence; what is new is asked of the text model and kept."""
        if len(labels) > self._max_labels:
            raise InvalidInput(
                f"the request has {len(labels)} different labels, the limit is {self._max_labels}: send them in several"
            )
        sentences = {label: frame.replace(SLOT, label) for label in labels}
        new = list(dict.fromkeys(each for each in sentences.values() if each not in self._cache))
        # The request's own are held apart, because it may have more labels than are kept.
        found = {each: self._cache[each] for each in sentences.values() if each in self._cache}
        if new:
            found.update(zip(new, self._embed(self._sentences.ids(new)), strict=True))
        self._keep(found)
        return {label: found[sentence] for label, sentence in sentences.items()}

    def _keep(self, used: dict[str, Vector]) -> None:
        for sentence, vector in used.items():
            self._cache[sentence] = vector
            self._cache.move_to_end(sentence)
        while len(self._cache) > self._kept:
            self._cache.popitem(last=False)


def _configured(template: str) -> str:
    try:
        return checked_template(template)
    except InvalidInput as problem:
        raise ModelConfigError(str(problem)) from problem


def _label_rows(labels: npt.NDArray[np.object_], images: int) -> list[list[str]]:
    """The labels of each image as text. Raises InvalidInput naming the first that is none."""
    if len(labels) != images:
        raise InvalidInput(f"`labels` has {len(labels)} rows for {images} images: send one row of labels an image")
    if not labels.size:
        raise InvalidInput("`labels` names no labels: name at least one for each image")
    # Rows of a batch mostly name the same labels, which are then read once.
    read: dict[tuple[bytes, ...], list[str]] = {}
    for index, row in enumerate(map(tuple, labels)):
        if row not in read:
            read[row] = checked_labels(row, index)
    return [read[tuple(row)] for row in labels]


def _short(sentence: str) -> str:
    return repr(sentence if len(sentence) <= 60 else sentence[:59] + "…")
