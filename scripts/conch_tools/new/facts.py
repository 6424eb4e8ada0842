"""What a source tells of itself before it is loaded: the dims that a configuration must state, classes and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conch_tools.build.sources import model_config, token_positions
from conch_tools.pipelines import Pipeline, Text

MOST_TOKENS = 512
"""Of a text where the model takes more: longer ones cost time that grows with their square."""


@dataclass(frozen=True)
class Facts:
    """Of one source."""

    filled_in: Mapping[str, object]
    """Values of the templates' names."""
    text: Text | None = None
    """Limits of a text pipeline."""


def text_classification(pipeline: Pipeline) -> Facts:
    """Of a Hugging Face sequence classifier."""
    # Imported where it is needed, because it brings torch along.
    from conch_tools.build.classifiers import fits_several

    config = model_config(pipeline)
    several = fits_several(pipeline, config)
    return Facts(
        {
            "output": "logits",
            "output_dims": config.num_labels,
            "classes": config.num_labels,
            "activation": "sigmoid" if several else "softmax",
            "activation_comment": "Any number of classes may fit." if several else "One class of many fits.",
        },
        Text(max_tokens=min(MOST_TOKENS, token_positions(config))),
    )
