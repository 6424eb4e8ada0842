"""Zero-shot text classification, in two forms that one task name stands for.

Without a source of its own a pipeline ranks labels by similarity in the embeddings of the pipeline it uses; its
reference is sentence-transformers' util.cos_sim. With a source it asks a model of natural-language inference; its
reference is transformers' own zero-shot-classification pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers import pipeline as transformers_pipeline

from conch_steps.zero_shot import SLOT
from conch_steps.zero_shot_entailment import CLASSES_FILE, EntailmentClasses
from conch_steps.zero_shot_similarity import DEFAULT_SCALE
from conch_tools.build.builder import Builder
from conch_tools.build.encoders import require_positions, source_model, tells_segments
from conch_tools.build.quality import Quality
from conch_tools.build.ragged import export_ragged
from conch_tools.build.reference import Item, Reference, StepAnswers, byte_item, mixed_texts, texts_of
from conch_tools.build.sources import source_folder, token_positions
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.text import fast_tokenizer, token_limit
from conch_tools.build.zero_shot_data import ZeroShotAccuracy, labelled_texts
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, load_pipeline

STEP = "scores"
MORE_LABELS = (
    "sport",
    "politics and elections",
    "a complaint about a delivery that never arrived",
    "naïve café",
    "weather",
    "the price of houses",
)
LABELS_AN_ITEM = (2, 3, 1, 5)
"""Items differ in their number of labels, as requests do."""
Ask: TypeAlias = Callable[[str, Sequence[str]], tuple[list[str], list[float]]]
"""A text and its labels to labels and scores, best first."""


def zero_shot_builder(pipeline: Pipeline) -> Builder:
    """The builder of the form that the pipeline's source tells."""
    return EntailmentBuilder(pipeline) if pipeline.source.is_named else SimilarityBuilder(pipeline)


class SimilarityBuilder:
    """`<pipeline>_scores`, which has no artifacts: its model is the embedding pipeline's."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._parameters = _step_parameters(pipeline)
        used = self._parameters.get("embedding", "")
        if used not in pipeline.uses:
            raise BuildError(
                pipeline.name, f"its step embeds with `{used}`, which `uses` in its pipeline.toml does not name"
            )
        self._embedding = load_pipeline(pipeline.folder.parent / used)
        self._folder = source_folder(self._embedding)

    def stage(self, staged: Staged) -> None:
        """Nothing: the step computes with what another pipeline serves."""

    def corpus(self) -> Sequence[Item]:
        """Texts of every length, each with one to five labels."""
        return _corpus(self._pipeline)

    def reference(self, items: Sequence[Item]) -> Reference:
        """Softmax of scaled cosines, by sentence-transformers from its own encodings of one text at a time."""
        from sentence_transformers import SentenceTransformer, util

        source = SentenceTransformer(str(self._folder), device="cpu")
        source.max_seq_length = token_limit(self._embedding)
        scale = float(self._parameters.get("scale", DEFAULT_SCALE))
        template = self._parameters["hypothesis_template"]

        def ask(text: str, labels: Sequence[str]) -> tuple[list[str], list[float]]:
            sentences = [text, *(template.replace(SLOT, label) for label in labels)]
            vectors = source.encode(sentences, batch_size=1, convert_to_tensor=True, show_progress_bar=False)
            scores = torch.softmax(scale * util.cos_sim(vectors[:1], vectors[1:])[0], dim=0)
            best = scores.sort(descending=True, stable=True)
            return [labels[index] for index in best.indices.tolist()], best.values.tolist()

        return _reference(self._pipeline, items, "sentence-transformers", ask)

    def quality(self) -> Quality | None:
        """Accuracy on texts and labels that the template was not chosen by."""
        return ZeroShotAccuracy(labelled_texts("heldout"))


class SegmentedLogits(torch.nn.Module):
    """A sequence classifier's logits [rows, classes] from ids, mask and, where it has them, segments."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        told = {} if segments is None else {"token_type_ids": segments}
        logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, **told).logits
        return logits


class EntailmentBuilder:
    """`<pipeline>_scores` and `<pipeline>_model` of a sequence classifier with an entailment class."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._template = _step_parameters(pipeline)["hypothesis_template"]
        folder = source_folder(pipeline)
        self._model = source_model(pipeline, AutoModelForSequenceClassification, "sequence classifier")
        require_positions(pipeline, token_limit(pipeline), token_positions(pipeline, self._model.config))
        self._source_tokenizer = fast_tokenizer(pipeline, folder)
        self._source_tokenizer.model_max_length = token_limit(pipeline)
        self._classes = EntailmentClasses(
            *_entailment_classes(pipeline.name, self._model.config.label2id),
            segments=tells_segments(self._source_tokenizer, self._model.config),
        )

    def stage(self, staged: Staged) -> None:
        """Write tokenizer and classes for the step, and the model."""
        step = staged.version(self._pipeline.step(STEP))
        tokenizer = self._source_tokenizer.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(token_limit(self._pipeline), strategy="only_first")
        tokenizer.save(str(step / "tokenizer.json"))
        (step / CLASSES_FILE).write_text(json.dumps(asdict(self._classes)) + "\n", encoding="utf-8")
        export_ragged(
            SegmentedLogits(self._model),
            token_limit(self._pipeline),
            "logits",
            staged.version(self._pipeline.step("model")) / "model.onnx",
            segments=self._classes.segments,
        )

    def corpus(self) -> Sequence[Item]:
        """Texts of every length, each with one to five labels."""
        return _corpus(self._pipeline)

    def reference(self, items: Sequence[Item]) -> Reference:
        """transformers' zero-shot-classification pipeline, one text at a time."""
        classify: Any = transformers_pipeline(
            "zero-shot-classification", model=self._model, tokenizer=self._source_tokenizer, device="cpu"
        )

        def ask(text: str, labels: Sequence[str]) -> tuple[list[str], list[float]]:
            answer = classify(text, list(labels), hypothesis_template=self._template)
            return answer["labels"], answer["scores"]

        return _reference(self._pipeline, items, "transformers", ask)

    def quality(self) -> Quality | None:
        """Accuracy if the pipeline has a gate for it: the model may be for another language or field."""
        return ZeroShotAccuracy(labelled_texts("heldout")) if self._pipeline.gates.minimum else None


def _step_parameters(pipeline: Pipeline) -> Mapping[str, str]:
    """The step's parameters, `hypothesis_template` among them. Raises BuildError."""
    parameters = step_parameters(pipeline, STEP)
    if "hypothesis_template" not in parameters:
        raise BuildError(pipeline.name, f"{pipeline.step(STEP)} sets no parameter `hypothesis_template`")
    return parameters


def _corpus(pipeline: Pipeline) -> list[Item]:
    # transformers refuses an empty text, which is answered here.
    texts = [text for text in mixed_texts([sample.input["text"] for sample in pipeline.samples]) if text]
    given = [label for sample in pipeline.samples for label in sample.input["labels"]]
    known = list(dict.fromkeys([*given, *MORE_LABELS]))
    rows = []
    for index in range(len(texts)):
        count = LABELS_AN_ITEM[index % len(LABELS_AN_ITEM)]
        rows.append([known[(index + place) % len(known)] for place in range(count)])
    return [byte_item(text=text, labels=labels) for text, labels in zip(texts, rows, strict=True)]


def _reference(pipeline: Pipeline, items: Sequence[Item], library: str, ask: Ask) -> Reference:
    answers = [ask(texts_of(item, "text")[0], texts_of(item, "labels")) for item in items]
    names = [np.array([label.encode() for label in labels], dtype=np.object_) for labels, _ in answers]
    scores = [np.array(each, dtype=np.float32) for _, each in answers]
    return Reference(
        library=library,
        items=items,
        steps=[StepAnswers(pipeline.step(STEP), {"label": names, "score": scores})],
        tolerance=pipeline.gates.max_abs_difference,
    )


def _entailment_classes(pipeline: str, numbers: Mapping[str, Any] | None) -> tuple[int, int]:
    """Numbers of entailment and contradiction by transformers' own rule, so that the last class counts as
    contradiction where the first is entailment. Raises BuildError when no class is called entailment."""
    numbers = numbers or {}
    entailment = next((int(number) for name, number in numbers.items() if name.lower().startswith("entail")), None)
    if entailment is None:
        raise BuildError(
            pipeline,
            f"its source has no class called entailment but {', '.join(numbers) or 'none at all'}: "
            "take a model of natural-language inference, or set label2id in its config.json",
        )
    return entailment, (len(numbers) - 1 if entailment == 0 else 0)
