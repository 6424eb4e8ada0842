"""Token classifiers: tokenizer and labels for the step, the classifier with its ragged head, and the reference.

The reference is transformers' own pipeline, which cuts long texts into the same overlapping windows (`stride`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

from transformers import AutoModelForTokenClassification, PreTrainedModel, TokenClassificationPipeline

from conch_steps.entities import SCORE_DIGITS
from conch_tools.build.encoders import require_positions, source_model
from conch_tools.build.entity_f1 import EntityF1
from conch_tools.build.quality import Quality
from conch_tools.build.ragged import export_ragged
from conch_tools.build.reference import Item, Reference, StepAnswers, json_row, mixed_texts, text_items, texts_of
from conch_tools.build.sources import source_folder, token_positions
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.text import fast_tokenizer
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import TokenTraining, token_training
from conch_tools.training.ner import TokenLogits

ROLE = "entities"
UNJOINED = "none"
"""The aggregation strategy that leaves every token by itself."""


class TokenClassifierBuilder:
    """`<pipeline>_entities` and `<pipeline>_model` of a token classifier: one that Conch trained, or any of the hub."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._folder = source_folder(pipeline)
        self._training: TokenTraining | None = None
        if pipeline.source.training is not None:
            self._training = token_training(pipeline.source.training)
        self._model = self._classifier()
        self._tokenizer = fast_tokenizer(pipeline, self._folder)
        self._parameters = step_parameters(pipeline, ROLE)
        self._strategy = self._parameters.get("aggregation_strategy", "simple")
        self._max_tokens, self._overlap = (self._number(key) for key in ("max_tokens", "overlap"))
        positions = token_positions(pipeline, self._model.config)
        require_positions(pipeline, self._max_tokens, min(positions, self._tokenizer.model_max_length))
        self._tokenizer.model_max_length = self._max_tokens

    def stage(self, staged: Staged) -> None:
        """Write tokenizer, labels and model."""
        step = self._pipeline.step(ROLE)
        tokenizer = self._tokenizer.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.save(str(staged.version(step) / "tokenizer.json"))
        names = cast(dict[int, str], self._model.config.id2label)
        staged.write_labels(step, [names[index] for index in range(len(names))])
        graph = staged.version(self._pipeline.step("model")) / "model.onnx"
        export_ragged(TokenLogits(self._model), self._max_tokens, "logits", graph)

    def corpus(self) -> Sequence[Item]:
        """Texts of every length that the reference can answer as the step does."""
        texts = mixed_texts([sample.input["text"] for sample in self._pipeline.samples])
        if self._strategy == UNJOINED:
            texts = [text for text in texts if len(self._tokenizer(text)["input_ids"]) < self._max_tokens]
        return text_items(texts)

    def reference(self, items: Sequence[Item]) -> Reference:
        """transformers' own answers, one text at a time."""
        # transformers cuts no windows where tokens stay by themselves.
        windows = {} if self._strategy == UNJOINED else {"stride": self._overlap}
        ask = TokenClassificationPipeline(
            model=self._model, tokenizer=self._tokenizer, aggregation_strategy=self._strategy, device="cpu", **windows
        )
        texts = [texts_of(item, "text")[0] for item in items]
        with warnings.catch_warnings():
            # Of tokenizers that do not mark what continues a word: the step goes by the same rule.
            warnings.filterwarnings("ignore", "Tokenizer does not support real words")
            rows = [json_row([_described(each, text) for each in ask(text)] if text else []) for text in texts]
        return Reference(
            library="transformers",
            items=items,
            steps=[StepAnswers(self._pipeline.step(ROLE), {"entities": rows})],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """F1 on the training's held-out sentences; a classifier of the hub brings none."""
        if self._training is None:
            return None
        sentences = self._training.heldout()
        return EntityF1(
            [each.text for each in sentences],
            [{(mention.type, mention.start, mention.end) for mention in each.mentions} for each in sentences],
        )

    def _classifier(self) -> PreTrainedModel:
        if self._training is not None:
            return self._training.load(self._folder)
        return source_model(self._pipeline, AutoModelForTokenClassification, "token classifier")

    def _number(self, key: str) -> int:
        text = self._parameters.get(key, "")
        if not text.isdigit():
            raise BuildError(
                self._pipeline.name, f"parameter `{key}` of {self._pipeline.step(ROLE)} must be a whole number"
            )
        return int(text)


def _described(entity: dict[str, Any], text: str) -> dict[str, Any]:
    """An entity of transformers in the form of the step."""
    return {
        "type": entity.get("entity_group") or entity["entity"],
        "score": round(float(entity["score"]), SCORE_DIGITS),
        "text": text[entity["start"] : entity["end"]],
        "start": entity["start"],
        "end": entity["end"],
    }
