"""What a source tells of itself before it is loaded: the dims that a configuration must state, classes and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conch_tools.build.sources import model_config, source_folder, token_positions
from conch_tools.pipelines import Feature, Pipeline, Sample, Text

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


@dataclass(frozen=True)
class Facts:
    """Of one source."""

    filled_in: Mapping[str, object]
    """Values of the templates' names."""
    text: Text | None = None
    """Limits of a text pipeline."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """What a row of a tabular pipeline may hold."""
    samples: Sequence[Sample] = ()
    """What the samples send, where the layout cannot know it."""
    largest_batch: int | None = None
    """Where more would not fit through a container's shared memory."""


# What reads a source is imported where it is needed, because it brings torch along.


def text_classification(pipeline: Pipeline) -> Facts:
    """Of a Hugging Face sequence classifier."""
    config = model_config(pipeline)
    return Facts(
        {**_model_step("logits", config.num_labels), **classes(pipeline, config)},
        Text(max_tokens=_tokens(pipeline, MOST_TOKENS)),
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
    marks_pieces = getattr(_tokenizer(pipeline).backend_tokenizer.model, "continuing_subword_prefix", None)
    return Facts(
        {
            **_model_step("logits", f"-1, {model_config(pipeline).num_labels}", PER_TOKEN),
            **_windows(pipeline),
            # A word is known as one only where the tokenizer marks the pieces that continue it.
            "strategy": "first" if marks_pieces else "simple",
        }
    )


def question_answering(pipeline: Pipeline) -> Facts:
    """Of a model that tells where an answer begins and ends."""
    windows = _windows(pipeline)
    segments = "0 for the question, 1 for the context."
    return Facts(
        {**_model_step("logits", "-1, 2", SPAN_LOGITS, segments), **windows}, Text(max_tokens=windows["max_tokens"])
    )


def zero_shot_classification(pipeline: Pipeline) -> Facts:
    """Of a model of natural-language inference."""
    from conch_tools.build.encoders import tells_segments

    config = model_config(pipeline)
    segments = "0 for the text, 1 for a label's sentence." if tells_segments(_tokenizer(pipeline), config) else ""
    return Facts(
        _model_step("logits", config.num_labels, segments=segments),
        Text(max_tokens=_tokens(pipeline, MOST_TOKENS)),
    )


def feature_extraction(pipeline: Pipeline) -> Facts:
    """Of a sentence-transformers model, or of a plain encoder."""
    from conch_tools.build.sentence import sentence_limit, sentence_model

    folder = source_folder(pipeline)
    dimensions = sentence_model(pipeline, folder).get_embedding_dimension()
    most = sentence_limit(folder) or MOST_TOKENS
    return Facts(
        {**_model_step("embedding", dimensions), "dimensions": dimensions},
        Text(max_tokens=_tokens(pipeline, min(most, MOST_TOKENS))),
    )


def fill_mask(pipeline: Pipeline) -> Facts:
    """Of a masked language model."""
    size = _tokens(pipeline, MOST_TOKENS)
    asked = "1 for the token that is asked for, 0 for all others."
    return Facts(
        {
            **_model_step("logits", model_config(pipeline).vocab_size, VOCABULARY_LOGITS, asked),
            "max_tokens": size,
            "mask": _tokenizer(pipeline).mask_token,
        },
        Text(max_tokens=size),
    )


def _model_step(output: str, dims: object, about: str = "", segments: str = "") -> dict[str, object]:
    """Of the step that runs the graph; `segments` says what their numbers mean where it takes some."""
    given = SEGMENTS.format(meaning=segments) if segments else ""
    return {"output": output, "output_dims": dims, "about_output": about, "segments": given}


def _windows(pipeline: Pipeline) -> dict[str, int]:
    size = _tokens(pipeline, WINDOW_TOKENS)
    return {"max_tokens": size, "overlap": size // OVERLAP_SHARE}


def _tokens(pipeline: Pipeline, most: int) -> int:
    """What model and tokenizer take of a text, and `most` at most."""
    positions = token_positions(pipeline, model_config(pipeline))
    return int(min(most, positions, _tokenizer(pipeline).model_max_length))


def _tokenizer(pipeline: Pipeline) -> Any:
    from conch_tools.build.text import fast_tokenizer

    return fast_tokenizer(pipeline, source_folder(pipeline))


def tabular_classification(pipeline: Pipeline) -> Facts:
    """Of a classifier of named values."""
    from conch_tools.build.tabular_sources import tabular_model
    from conch_tools.new.tabular import tried

    model = tabular_model(pipeline)
    features = {column.name: column.feature for column in model.columns}
    scores, rows = tried(model, features)
    return Facts(
        {
            "columns": len(features),
            "output": scores,
            "output_dims": len(model.labels),
            "classes": len(model.labels),
            "activation": "none" if scores == "probabilities" else "softmax",
            "activation_comment": "The model answers probabilities."
            if scores == "probabilities"
            else "One class of many fits.",
        },
        features=features,
        samples=[Sample(input={"features": row}, expect={}) for row in rows],
    )
