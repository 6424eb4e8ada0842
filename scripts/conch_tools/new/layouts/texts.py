"""Pipelines of texts: an encoder in Hugging Face's form, with the head of its task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from conch_tools.build.sources import config_in, source_folder, token_positions
from conch_tools.new.layouts.layout import CLASS_LABELS, TEXT_MODEL, Facts, Layout
from conch_tools.pipelines import Pipeline, Task, Text

MOST_TOKENS = 512
"""Of a text where the model takes more: longer ones cost time that grows with their square."""
WINDOW_TOKENS = 256
"""Of a window where the model takes more: two short windows cost less than a long one, and what stands near decides."""
OVERLAP_SHARE = 4
"""Of a window's tokens every so many-th is in its neighbour as well."""
PER_TOKEN = "# One row a token, as wide as the widest text of the execution."
SPAN_LOGITS = "# Of every token, the logits for beginning and for ending an answer."
VOCABULARY_LOGITS = "# Of the token that is asked for, the logits of every token that there is."
SEGMENTS = """# {meaning}
  {{ name: "segments" data_type: TYPE_INT32 dims: [ -1 ] allow_ragged_batch: true }},"""
TOKENIZER = "steps/text_tokenize.pbtxt"


# What reads a source is imported where it is needed, because it brings torch along.


class TextSource:
    """A model folder, of which every part is looked for and read once: of a hub id, each look is a request."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @cached_property
    def folder(self) -> Path:
        """Where config.json lies."""
        return source_folder(self.pipeline)

    @cached_property
    def config(self) -> Any:
        """Transformers' view of config.json."""
        return config_in(self.pipeline, self.folder)

    @cached_property
    def tokenizer(self) -> Any:
        """The fast one."""
        from conch_tools.build.text import fast_tokenizer

        return fast_tokenizer(self.pipeline, self.folder)

    def tokens(self, most: int) -> int:
        """What model and tokenizer take of a text, and `most` at most."""
        return int(min(most, token_positions(self.pipeline, self.config), self.tokenizer.model_max_length))

    def windows(self) -> dict[str, int]:
        """Of texts that are longer than what is read at once."""
        size = self.tokens(WINDOW_TOKENS)
        return {"max_tokens": size, "overlap": size // OVERLAP_SHARE}


def text_classification(pipeline: Pipeline) -> Facts:
    """Of a Hugging Face sequence classifier."""
    source = TextSource(pipeline)
    return Facts(
        {**_model_step("logits", source.config.num_labels), **classes(pipeline, source.config)},
        Text(max_tokens=source.tokens(MOST_TOKENS)),
    )


def classes(pipeline: Pipeline, config: Any) -> dict[str, object]:
    """Of a classifier in Hugging Face's form: how many classes it has, and how its logits become scores."""
    from conch_tools.build.classifiers import fits_several

    several = fits_several(pipeline, config)
    return {
        "classes": config.num_labels,
        "activation": "sigmoid" if several else "softmax",
        "activation_comment": "Any number of classes may fit." if several else "One class of many fits.",
    }


def token_classification(pipeline: Pipeline) -> Facts:
    """Of a token classifier."""
    source = TextSource(pipeline)
    marks_pieces = getattr(source.tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    return Facts(
        {
            **_model_step("logits", f"-1, {source.config.num_labels}", PER_TOKEN),
            **source.windows(),
            # A word is known as one only where the tokenizer marks the pieces that continue it.
            "strategy": "first" if marks_pieces else "simple",
        }
    )


def question_answering(pipeline: Pipeline) -> Facts:
    """Of a model that tells where an answer begins and ends."""
    windows = TextSource(pipeline).windows()
    segments = "0 for the question, 1 for the context."
    return Facts(
        {**_model_step("logits", "-1, 2", SPAN_LOGITS, segments), **windows}, Text(max_tokens=windows["max_tokens"])
    )


def zero_shot_classification(pipeline: Pipeline) -> Facts:
    """Of a model of natural-language inference."""
    from conch_tools.build.encoders import tells_segments

    source = TextSource(pipeline)
    told = tells_segments(source.tokenizer, source.config)
    segments = "0 for the text, 1 for a label's sentence." if told else ""
    return Facts(
        _model_step("logits", source.config.num_labels, segments=segments),
        Text(max_tokens=source.tokens(MOST_TOKENS)),
    )


def feature_extraction(pipeline: Pipeline) -> Facts:
    """Of a sentence-transformers model, or of a plain encoder."""
    from conch_tools.build.sentence import sentence_limit, sentence_model

    source = TextSource(pipeline)
    dimensions = sentence_model(pipeline, source.folder).get_embedding_dimension()
    most = sentence_limit(source.folder) or MOST_TOKENS
    return Facts(
        {**_model_step("embedding", dimensions), "dimensions": dimensions},
        Text(max_tokens=source.tokens(min(most, MOST_TOKENS))),
    )


def fill_mask(pipeline: Pipeline) -> Facts:
    """Of a masked language model."""
    source = TextSource(pipeline)
    size = source.tokens(MOST_TOKENS)
    asked = "1 for the token that is asked for, 0 for all others."
    return Facts(
        {
            **_model_step("logits", source.config.vocab_size, VOCABULARY_LOGITS, asked),
            "max_tokens": size,
            "mask": source.tokenizer.mask_token,
        },
        Text(max_tokens=size),
    )


def _model_step(output: str, dims: object, about: str = "", segments: str = "") -> dict[str, object]:
    """Of the step that runs the graph; `segments` says what their numbers mean where it takes some."""
    given = SEGMENTS.format(meaning=segments) if segments else ""
    return {"output": output, "output_dims": dims, "about_output": about, "segments": given}


LAYOUTS: Mapping[Task, Layout] = {
    "text-classification": Layout(
        ensemble="text_classification/ensemble.pbtxt",
        steps={"tokenize": TOKENIZER, "model": TEXT_MODEL, "labels": CLASS_LABELS},
        facts=text_classification,
        samples=(
            {"text": "The room was spotless and the staff could not have been kinder."},
            {"text": "Broke on the second day and nobody answers my emails."},
        ),
        description="Which class a text belongs to.",
    ),
    "token-classification": Layout(
        ensemble="token_classification/ensemble.pbtxt",
        steps={"entities": "steps/token_entities.pbtxt", "model": TEXT_MODEL},
        facts=token_classification,
        samples=(
            {"text": "Ingrid Solheim moved to Bergen on 4 May 2021."},
            {"text": "The soup was too salty, but nobody complained."},
        ),
        description="What a text names, and where it stands.",
    ),
    "question-answering": Layout(
        ensemble="question_answering/ensemble.pbtxt",
        steps={"answers": "steps/question_answers.pbtxt", "model": TEXT_MODEL},
        facts=question_answering,
        samples=(
            {
                "question": "Who built the lighthouse?",
                "context": "The lighthouse of Port Ellary was built in 1871 by Ingrid Solheim, from Bergen.",
            },
            {
                "question": "How tall is the bridge?",
                "context": "The bakery on Mill Street opens at six. On Sundays it sells only rye bread.",
            },
        ),
        description="The words of a text that answer a question, or that it does not say.",
        limit="Of one window; longer contexts take several. The step `answers` has the same number.",
    ),
    "zero-shot-classification": Layout(
        ensemble="zero_shot_classification/ensemble.pbtxt",
        steps={"scores": "steps/entailment_scores.pbtxt", "model": TEXT_MODEL},
        facts=zero_shot_classification,
        samples=(
            {
                "text": "The striker scored twice in the last five minutes.",
                "labels": ["football", "cooking", "astronomy"],
            },
            {"text": "I was charged twice for the same order.", "labels": ["delivery", "payment", "opening hours"]},
        ),
        description="Which of the labels that come with a text it entails.",
    ),
    "fill-mask": Layout(
        ensemble="fill_mask/ensemble.pbtxt",
        steps={"fills": "steps/mask_fills.pbtxt", "model": TEXT_MODEL},
        facts=fill_mask,
        samples=(
            {"text": "The room was $mask and the staff could not have been kinder."},
            {"text": "Broke on the second $mask and nobody answers my emails."},
        ),
        description="Which words may stand where a text has a mask.",
        limit="Longer texts are refused. The step `fills` has the same number.",
    ),
    "feature-extraction": Layout(
        ensemble="feature_extraction/ensemble.pbtxt",
        steps={"tokenize": TOKENIZER, "model": TEXT_MODEL},
        facts=feature_extraction,
        samples=({"text": "The parcel arrived two days late, but nothing was broken."},),
        description="A text's meaning as numbers; near texts have near numbers.",
    ),
}
