"""Masked language models: the tokenizer, the model with its ragged head, and the reference's answers.

The reference is transformers' own fill-mask pipeline, one text at a time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers import pipeline as transformers_pipeline

from conch_steps.mask_filler import MASK_FILE, SCORE_DIGITS, TOP_K, MaskTokens
from conch_tools.build.encoders import require_positions, source_model
from conch_tools.build.quality import Quality
from conch_tools.build.ragged import export_ragged
from conch_tools.build.reference import Item, Reference, StepAnswers, json_row, mixed_texts, text_items, texts_of
from conch_tools.build.sources import source_folder, token_positions
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.text import fast_tokenizer, token_limit
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline

ROLE = "fills"
TWO_MASKS_EVERY = 4
"""Texts of the corpus; the others have one."""


class AskedLogits(torch.nn.Module):
    """A masked language model as the ragged head calls it: (ids, mask, asked [n, L]) to logits [n, vocabulary] of the
    one token a row that is asked for."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        places = asked.argmax(dim=1)[:, None, None]

        def only_asked(encoder: torch.nn.Module, given: Any, found: Any) -> Any:
            # Between encoder and head: a head costs each token as much as the vocabulary is large.
            states = found.last_hidden_state
            found.last_hidden_state = states.gather(1, places.expand(-1, 1, states.shape[2]))
            return found

        with self.model.base_model.register_forward_hook(only_asked):
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits[:, 0]


class FillMaskBuilder:
    """`<pipeline>_fills` and `<pipeline>_model` of a masked language model."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        folder = source_folder(pipeline)
        self._tokenizer = fast_tokenizer(pipeline, folder)
        if self._tokenizer.mask_token is None:
            raise BuildError(pipeline.name, f"the tokenizer in {folder} has no mask token: nothing could be asked for")
        self._model = source_model(pipeline, AutoModelForMaskedLM, "masked language model")
        self._limit = token_limit(pipeline)
        require_positions(pipeline, self._limit, token_positions(pipeline, self._model.config))
        if step_parameters(pipeline, ROLE).get("max_tokens") != str(self._limit):
            raise BuildError(
                pipeline.name, f"{pipeline.step(ROLE)} must have the parameter `max_tokens`, {self._limit} as in [text]"
            )

    def stage(self, staged: Staged) -> None:
        """Write tokenizer, model, and what the step must know of the tokenizer."""
        step = staged.version(self._pipeline.step(ROLE))
        tokenizer = self._tokenizer.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.save(str(step / "tokenizer.json"))
        (step / MASK_FILE).write_text(json.dumps(asdict(self._mask_tokens())) + "\n", encoding="utf-8")
        graph = staged.version(self._pipeline.step("model")) / "model.onnx"
        export_ragged(AskedLogits(self._model), self._limit, "logits", graph, segments=True)

    def corpus(self) -> Sequence[Item]:
        """Texts of every length within the limit, with one mask or two."""
        mask = self._tokenizer.mask_token
        samples = [str(sample.input["text"]) for sample in self._pipeline.samples]
        chance = random.Random(len(samples))
        texts = [*samples]
        for number, text in enumerate(mixed_texts([sample.replace(mask, "thing") for sample in samples])):
            words = text.split(" ")
            for _ in range(1 if number % TWO_MASKS_EVERY else 2):
                words[chance.randrange(len(words))] = mask
            texts.append(" ".join(words))
        return text_items([text for text in texts if len(self._tokenizer(text)["input_ids"]) <= self._limit])

    def reference(self, items: Sequence[Item]) -> Reference:
        """transformers' own answers, one text at a time."""
        fill: Any = transformers_pipeline(
            "fill-mask", model=self._model, tokenizer=self._tokenizer, device="cpu", top_k=TOP_K
        )
        rows = [json_row(_described(fill(texts_of(item, "text")[0]))) for item in items]
        return Reference(
            library="transformers",
            items=items,
            steps=[StepAnswers(self._pipeline.step(ROLE), {"fills": rows})],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """None: equal to its source is all that is asked of it."""
        return None

    def _mask_tokens(self) -> MaskTokens:
        # transformers leaves alone what byte-level tokenizers write, whatever is set.
        cleans_up = self._tokenizer.clean_up_tokenization_spaces and (
            type(self._tokenizer.backend_tokenizer.model).__name__ != "BPE"
        )
        return MaskTokens(self._tokenizer.mask_token_id, self._tokenizer.pad_token_id, bool(cleans_up))


def _described(found: Any) -> Any:
    """What transformers fills in, in the form of the step: a list, or one for each of several masks."""
    if found and isinstance(found[0], list):
        return [_described(each) for each in found]
    return [
        {"token": each["token_str"], "score": round(each["score"], SCORE_DIGITS), "text": each["sequence"]}
        for each in found
    ]
