"""Text pipelines: tokenizer.json, the encoder with its ragged head, and the reference's answers.

The reference of `feature-extraction` is sentence-transformers itself; of `text-classification`, the PyTorch model and
its own tokenizer, one text at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from conch_tools.build.classifiers import Activation, softmax, text_classifier
from conch_tools.build.encoders import require_positions, source_model
from conch_tools.build.model_folder import require_no_code
from conch_tools.build.quality import LabelAccuracy, Quality
from conch_tools.build.ragged import export_ragged
from conch_tools.build.reference import Item, Reference, StepAnswers, mixed_texts, text_items, texts_of
from conch_tools.build.sentence import SentenceVectors, sentence_model
from conch_tools.build.sources import source_folder, token_positions
from conch_tools.build.staging import Staged
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import Pipeline

TOKENIZER_CONFIG = "tokenizer_config.json"


class EmbeddingBuilder:
    """`<pipeline>_tokenize` and `<pipeline>_model` of a sentence-transformers model."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._folder = source_folder(pipeline)
        self._tokenizer = step_tokenizer(pipeline, self._folder)
        self._source = sentence_model(pipeline, self._folder)
        # The tokens are taken without the head that some encoders have for their first one.
        self._encoder = source_model(pipeline, AutoModel, "encoder", unread="pooler")
        self._positions = token_positions(pipeline, self._encoder.config)
        require_positions(pipeline, token_limit(pipeline), self._positions)

    def stage(self, staged: Staged) -> None:
        """Write the tokenizer and the encoder with its pooling."""
        stage_tokenizer(self._pipeline, self._tokenizer, staged)
        export_ragged(
            SentenceVectors(self._encoder, list(self._source)[1:]),
            self._positions,
            "embedding",
            staged.version(self._pipeline.step("model")) / "model.onnx",
        )

    def corpus(self) -> Sequence[Item]:
        """Texts of every length."""
        return sample_items(self._pipeline)

    def reference(self, items: Sequence[Item]) -> Reference:
        """sentence-transformers' own answers, one text at a time."""
        self._source.max_seq_length = token_limit(self._pipeline)
        texts = _texts(items)
        vectors = self._source.encode(texts, batch_size=1, convert_to_numpy=True, show_progress_bar=False)
        later = [StepAnswers(self._pipeline.step("model"), {"embedding": list(vectors)})]
        return _reference(self._pipeline, "sentence-transformers", items, self._tokenizer, later)

    def quality(self) -> Quality | None:
        """None: equal to its source is all that an embedding can be."""
        return None


class TextClassifierBuilder:
    """`<pipeline>_tokenize`, `<pipeline>_model` and `<pipeline>_labels` of a text classifier: one that Conch trained,
    or any in Hugging Face's form."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._folder = source_folder(pipeline)
        self._classifier = text_classifier(pipeline)
        self._tokenizer = step_tokenizer(pipeline, self._folder)
        require_positions(pipeline, token_limit(pipeline), self._classifier.positions)

    def stage(self, staged: Staged) -> None:
        """Write tokenizer, model and labels."""
        stage_tokenizer(self._pipeline, self._tokenizer, staged)
        export_ragged(
            self._classifier.network,
            self._classifier.positions,
            "logits",
            staged.version(self._pipeline.step("model")) / "model.onnx",
            padding=self._classifier.padding,
        )
        staged.write_labels(self._pipeline.step("labels"), self._classifier.labels)

    def corpus(self) -> Sequence[Item]:
        """Texts of every length."""
        return sample_items(self._pipeline)

    def reference(self, items: Sequence[Item]) -> Reference:
        """The PyTorch model's answers with its own tokenizer, one text at a time."""
        source_tokenizer = fast_tokenizer(self._pipeline, self._folder)
        limit = token_limit(self._pipeline)
        logits = [_logits(self._classifier.network, source_tokenizer, text, limit) for text in _texts(items)]
        later = [
            StepAnswers(self._pipeline.step("model"), {"logits": logits}),
            StepAnswers(
                self._pipeline.step("labels"), ranked(logits, self._classifier.labels, self._classifier.scores)
            ),
        ]
        return _reference(self._pipeline, "PyTorch", items, self._tokenizer, later)

    def quality(self) -> Quality | None:
        """Accuracy on held-out texts; None for a model that brings none."""
        heldout = self._classifier.heldout
        if not heldout:
            return None
        return LabelAccuracy("text", [text.encode() for text, _ in heldout], [label for _, label in heldout])


def sample_items(pipeline: Pipeline) -> list[Item]:
    """The parity corpus of a pipeline of single texts."""
    return text_items(mixed_texts([sample.input["text"] for sample in pipeline.samples]))


def _texts(items: Sequence[Item]) -> list[str]:
    return [texts_of(item, "text")[0] for item in items]


def ranked(
    logits: Sequence[npt.NDArray[np.float32]], labels: Sequence[str], scores_of: Activation = softmax
) -> dict[str, list[npt.NDArray[np.object_]]]:
    """PyTorch's own scores and sort of each item's logits: `label` and `score`, best first."""
    scores, order = scores_of(torch.from_numpy(np.stack(logits))).sort(dim=1, descending=True, stable=True)
    names = np.array([label.encode() for label in labels], dtype=np.object_)
    return {"label": [names[row] for row in order.numpy()], "score": list(scores.numpy())}


def step_tokenizer(pipeline: Pipeline, folder: Path) -> Tokenizer:
    """The source's tokenizer as the step serves it: truncating, without padding."""
    tokenizer: Tokenizer = fast_tokenizer(pipeline, folder).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(token_limit(pipeline))
    return tokenizer


def stage_tokenizer(pipeline: Pipeline, tokenizer: Tokenizer, staged: Staged) -> None:
    """Write tokenizer.json for `<pipeline>_tokenize`."""
    tokenizer.save(str(staged.version(pipeline.step("tokenize")) / "tokenizer.json"))


def fast_tokenizer(pipeline: Pipeline, folder: Path) -> PreTrainedTokenizerFast:
    """The source's own tokenizer. Raises BuildError when there is none, or no fast one."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as problem:  # the tokenizers library has no class of its own for a file that it cannot read
        require_no_code(pipeline.name, folder, TOKENIZER_CONFIG)
        said = first_line(problem)
        raise BuildError(pipeline.name, f"{folder} has no fast tokenizer (tokenizer.json): {said}") from problem
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BuildError(pipeline.name, f"{folder} has no fast tokenizer (tokenizer.json)")
    # Without its files, transformers makes a tokenizer that knows no words.
    files = tokenizer.vocab_files_names.values()
    if not any((folder / name).is_file() for name in files):
        raise BuildError(pipeline.name, f"{folder} has no tokenizer: none of {', '.join(files)} is there")
    return tokenizer


def token_limit(pipeline: Pipeline) -> int:
    """The pipeline's `max_tokens`. Raises BuildError when it says none."""
    if pipeline.text is None:
        raise BuildError(pipeline.name, "a text pipeline needs [text] max_tokens in its pipeline.toml")
    return pipeline.text.max_tokens


def _logits(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, text: str, limit: int
) -> npt.NDArray[np.float32]:
    encoded = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    with torch.no_grad():
        logits: torch.Tensor = model(encoded["input_ids"], encoded["attention_mask"])
    return np.asarray(logits[0].numpy(), dtype=np.float32)


def _reference(
    pipeline: Pipeline, library: str, items: Sequence[Item], tokenizer: Tokenizer, later: Sequence[StepAnswers]
) -> Reference:
    ids = [np.array(tokenizer.encode(text).ids, dtype=np.int32) for text in _texts(items)]
    return Reference(
        library=library,
        items=items,
        steps=[StepAnswers(pipeline.step("tokenize"), {"input_ids": ids}), *later],
        tolerance=pipeline.gates.max_abs_difference,
    )
