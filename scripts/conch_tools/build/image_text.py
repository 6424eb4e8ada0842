"""CLIP: its two encoders as two graphs, what turns images and labels into their inputs, and transformers' own answers.

Any folder with a CLIPModel will do, its tokenizer and its image processor beside it. The reference is transformers'
zero-shot-image-classification pipeline on the same folder, with the hypothesis template that the step is configured
with; the pixels and the image embeddings it is compared with on the way are those of the same processor and model.
"""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from transformers import CLIPModel
from transformers import pipeline as transformers_pipeline

from conch_steps.image_text import DEFAULT_TEMPLATE
from conch_steps.zero_shot import SLOT
from conch_tools.build.encoders import model_in
from conch_tools.build.image_processors import SourceProcessor, opened
from conch_tools.build.image_text_quality import MatchAccuracy
from conch_tools.build.pictures import pictures
from conch_tools.build.quality import Quality
from conch_tools.build.ragged import OPSET, export_ragged
from conch_tools.build.reference import CORPUS_SIZE, Item, Reference, Rows, StepAnswers, byte_item, texts_of
from conch_tools.build.sources import config_in, source_folder
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.text import fast_tokenizer
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import ImageTextTraining, image_text_training

WORDS = ("cat", "dog", "bicycle", "red circle", "naïve café", "東京 🙂", "nothing at all")
CLIP = "clip"
"""The architecture, in the words of a config.json."""


class ImageSide(torch.nn.Module):
    """Pixels [n, 3, height, width] to image embeddings of length one, [n, dim]."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pooled = self.clip.vision_model(pixel_values=pixels).pooler_output
        return _unit(self.clip.visual_projection(pooled))


class TextSide(torch.nn.Module):
    """Ids and mask [n, width] to text embeddings of length one, [n, dim]."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        pooled = self.clip.text_model(input_ids=ids, attention_mask=mask).pooler_output
        return _unit(self.clip.text_projection(pooled))


def _unit(embedding: torch.Tensor) -> torch.Tensor:
    """Length one. The reshape hides the dim from the runtime's shape inference, which would undo `_open_dims`."""
    return torch.nn.functional.normalize(embedding, dim=-1).reshape(embedding.shape[0], -1)


class ImageTextBuilder:
    """`<pipeline>_decode`, `<pipeline>_vision`, `<pipeline>_words` and `<pipeline>_match` of a CLIPModel."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._training: ImageTextTraining | None = None
        if pipeline.source.training is not None:
            self._training = image_text_training(pipeline.source.training)
        self._folder = source_folder(pipeline) if self._training is None else self._training.folder
        require_clip(pipeline, config_in(pipeline, self._folder))
        self._model = model_in(pipeline, self._folder, CLIPModel, "CLIP model")
        self._tokenizer = fast_tokenizer(pipeline, self._folder)
        self._processor = SourceProcessor(pipeline, self._folder)
        side = self._model.config.vision_config.image_size
        if self._processor.shape != (3, side, side):
            raise BuildError(
                pipeline.name,
                f"its image processor makes pixels {list(self._processor.shape)}, its vision model takes "
                f"{[3, side, side]}: its files do not belong together",
            )
        self._processor.require_same_pixels(self._pictures)

    def stage(self, staged: Staged) -> None:
        """Write decoder settings, both graphs, the tokenizer and what the match needs to know of the text side."""
        self._write(staged, "decode", "preprocessor_config.json", self._processor.settings)
        texts = self._model.config.text_config
        self._write(
            staged,
            "match",
            "match.json",
            {"logit_scale": self._model.logit_scale.exp().item(), "max_tokens": texts.max_position_embeddings},
        )
        self._tokenizer.backend_tokenizer.save(str(self._file(staged, "match", "tokenizer.json")))
        words = self._file(staged, "words", "model.onnx")
        export_ragged(TextSide(self._model), texts.max_position_embeddings, "embedding", words)
        _open_dims(words, {"embedding": {1: "dim"}})
        self._export_vision(self._file(staged, "vision", "model.onnx"))

    def corpus(self) -> Sequence[Item]:
        """The samples, then pictures of all forms with one to all of the labels that fit the model."""
        samples = [self._pipeline.sample_inputs(sample) for sample in self._pipeline.samples]
        known = dict.fromkeys([*itertools.chain.from_iterable(sample["labels"] for sample in samples), *WORDS])
        limit = self._model.config.text_config.max_position_embeddings
        words = [each for each in known if len(self._tokenizer(self._template.replace(SLOT, each)).input_ids) <= limit]
        chance = random.Random(len(words))
        items = [byte_item(image=sample["image"], labels=sample["labels"]) for sample in samples]
        for number, picture in enumerate(self._pictures):
            items.append(byte_item(image=picture, labels=chance.sample(words, 1 + number % len(words))))
        return items

    def reference(self, items: Sequence[Item]) -> Reference:
        """transformers' pipeline, one image at a time."""
        load: Any = transformers_pipeline  # its overloads know none of a task that is only known when it runs
        ask = load(
            self._pipeline.task,
            model=self._model,
            tokenizer=self._tokenizer,
            image_processor=self._processor.transformers,
        )
        pixels = [self._processor.pixels(item["image"][0]) for item in items]
        with torch.no_grad():
            embeddings = [ImageSide(self._model)(torch.from_numpy(each[None]))[0].numpy() for each in pixels]
        answers = [
            ask(
                opened(item["image"][0]),
                candidate_labels=texts_of(item, "labels"),
                hypothesis_template=self._template,
            )
            for item in items
        ]
        ranked: dict[str, Rows] = {
            "label": [np.array([each["label"].encode() for each in row], dtype=np.object_) for row in answers],
            "score": [np.array([each["score"] for each in row], dtype=np.float32) for row in answers],
        }
        return Reference(
            library="transformers.pipeline",
            items=items,
            steps=[
                StepAnswers(self._pipeline.step("decode"), {"pixels": pixels}),
                StepAnswers(self._pipeline.step("vision"), {"embedding": embeddings}),
                StepAnswers(self._pipeline.step("match"), ranked),
            ],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Accuracy on the training's held-out pictures; None for a model of others."""
        if self._training is None:
            return None
        return MatchAccuracy(self._training.labels, self._training.heldout())

    @cached_property
    def _pictures(self) -> Sequence[bytes]:
        """Of the corpus."""
        return pictures(CORPUS_SIZE - len(self._pipeline.samples))

    @cached_property
    def _template(self) -> str:
        """The hypothesis template in the match step's config.pbtxt."""
        return step_parameters(self._pipeline, "match").get("hypothesis_template", DEFAULT_TEMPLATE)

    def _export_vision(self, path: Path) -> None:
        side = self._model.config.vision_config.image_size
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                ImageSide(self._model).eval(),
                (torch.zeros(2, 3, side, side),),
                str(path),
                input_names=["pixels"],
                output_names=["embedding"],
                opset_version=OPSET,
                dynamo=False,
                dynamic_axes={"pixels": {0: "rows"}, "embedding": {0: "rows"}},
            )
        _open_dims(path, {"pixels": {2: "height", 3: "width"}, "embedding": {1: "dim"}})

    def _file(self, staged: Staged, role: str, name: str) -> Path:
        return staged.version(self._pipeline.step(role)) / name

    def _write(self, staged: Staged, role: str, name: str, content: Mapping[str, Any]) -> None:
        self._file(staged, role, name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def require_clip(pipeline: Pipeline, config: Any) -> None:
    """Raise BuildError for a config.json of another architecture."""
    if config.model_type != CLIP:
        raise BuildError(pipeline.name, f"its source is of the architecture `{config.model_type}`, not {CLIP}")


def _open_dims(path: Path, names: Mapping[str, Mapping[int, str]]) -> None:
    """Declare dims as open, so that config.pbtxt need not know this model's sizes; the nodes keep theirs."""
    model = onnx.load(str(path))
    for tensor in (*model.graph.input, *model.graph.output):
        for axis, name in names.get(tensor.name, {}).items():
            tensor.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, str(path))
