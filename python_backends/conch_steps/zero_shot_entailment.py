"""Zero-shot by natural-language inference: does the text, the premise, entail the hypothesis that a label makes?

Every text with every label is one row for the model. Premises and hypotheses are tokenised once each and joined as the
tokenizer itself joins pairs; a pair over the limit loses the end of its premise, never of its hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from conch_steps.calls import MAX_ROWS
from conch_steps.class_labels import softmax
from conch_steps.errors import InvalidInput, ModelConfigError
from conch_steps.json_artifacts import read_artifact
from conch_steps.parameters import REQUEST_PARAMETERS, SEGMENT_TENSORS, TOKEN_TENSORS, CalledModel, Declaration, named
from conch_steps.text_tokenizer import TOKENIZER_FILE, read_tokenizer
from conch_steps.zero_shot import LABELS_OF_A_TEXT, TEMPLATE, Question, ranked, require_rows

ClassLogits: TypeAlias = npt.NDArray[np.float32]
Infer: TypeAlias = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]] | None], Sequence[ClassLogits]]
"""Rows of token ids, with the segment of each id where the model tells segments apart, to logits [classes] a row."""

CLASSES_FILE = "entailment.json"


@dataclass(frozen=True)
class EntailmentClasses:
    """Which of the model's classes mean what, as entailment.json has it."""

    entailment: int
    contradiction: int
    segments: bool
    """Whether the model tells premise from hypothesis by segment numbers (token_type_ids)."""

    @classmethod
    def read(cls, path: Path) -> EntailmentClasses:
        """Raises ArtifactError or ModelConfigError."""
        return read_artifact(path, cls)


def pair_tokenizer(file: Path) -> tuple[Tokenizer, int]:
    """The tokenizer in a file, which must cut premises only, and how many tokens a pair has at most.

    Raises ArtifactError or ModelConfigError.
    """
    tokenizer = read_tokenizer(file)
    truncation = tokenizer.truncation
    if truncation is None or truncation["strategy"] != "only_first":
        raise ModelConfigError(f"{file} must truncate with the strategy only_first")
    tokenizer.no_padding()
    return tokenizer, int(truncation["max_length"])


MODEL = named("model", "the name of a model for premise-hypothesis pairs, unless `embedding` names a pipeline")
DECLARED = Declaration(
    (MODEL, MAX_ROWS, TEMPLATE, LABELS_OF_A_TEXT),
    {
        TOKENIZER_FILE: lambda model: pair_tokenizer(model.version_folder / TOKENIZER_FILE),
        CLASSES_FILE: lambda model: EntailmentClasses.read(model.version_folder / CLASSES_FILE),
    },
    (CalledModel(MODEL, MAX_ROWS, TOKEN_TENSORS, "logits", SEGMENT_TENSORS),),
    depends_on=(REQUEST_PARAMETERS,),
)


class EntailmentRanking:
    """Ranks labels by the entailment of their hypotheses."""

    def __init__(self, tokenizer_file: Path, classes: EntailmentClasses, infer: Infer) -> None:
        self._tokenizer, longest = pair_tokenizer(tokenizer_file)
        # A premise keeps at least one token.
        special = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        self._most_hypothesis_tokens = longest - special - 1
        self._classes = classes
        self._infer = infer

    def answer(self, question: Question) -> dict[str, npt.NDArray[Any]]:
        """`label` BYTES [n, k] and `score` FP32 [n, k], best first.

        One label of many: softmax of the entailment logits of a text's labels. With `multi_label`, or a single label:
        entailment against contradiction, each label for itself.
        """
        rows, count = question.labels.shape
        require_rows(rows * count)
        pairs = self._pairs(question)
        segments = [pair.type_ids for pair in pairs] if self._classes.segments else None
        logits = np.stack(list(self._infer([pair.ids for pair in pairs], segments)))
        entailment = logits[:, self._classes.entailment]
        if question.multi_label or count == 1:
            scores = softmax(np.stack([logits[:, self._classes.contradiction], entailment], axis=1))[:, 1]
        else:
            scores = softmax(entailment.reshape(rows, count))
        return ranked(question.labels, scores.reshape(rows, count))

    def _pairs(self, question: Question) -> list[Encoding]:
        """The tokens of every text with every one of its labels, text by text."""
        premises = self._tokenizer.encode_batch(list(question.texts), add_special_tokens=False)
        sentences = list(dict.fromkeys(each for row in question.hypotheses for each in row))
        encodings = self._tokenizer.encode_batch(sentences, add_special_tokens=False)
        hypotheses = dict(zip(sentences, encodings, strict=True))
        for sentence, encoding in hypotheses.items():
            if len(encoding) > self._most_hypothesis_tokens:
                raise InvalidInput(
                    f"the hypothesis {sentence!r:.60} has more than {self._most_hypothesis_tokens} tokens, "
                    "the most that the model takes beside a text: shorten label or template"
                )
        return [
            self._tokenizer.post_process(premise, hypotheses[each])
            for premise, row in zip(premises, question.hypotheses, strict=True)
            for each in row
        ]
