"""The declarations of all backends whose logic is here, by the name that config.pbtxt has for them.

For `conch check`: an adaptor imports its own logic only. `onnxruntime` has none, it takes what NVIDIA's backend takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from conch_steps import (
    answers,
    class_labels,
    entities,
    feature_store,
    forecasting,
    image_decoder,
    image_text,
    retrieval,
    soft_vote,
    text_tokenizer,
    zero_shot_entailment,
    zero_shot_similarity,
)
from conch_steps.parameters import Declaration
from conch_steps.serving import StepModel

ZERO_SHOT = "zero_shot"

_DECLARATIONS: Mapping[str, Declaration] = MappingProxyType(
    {
        "catalogue_changes": retrieval.CHANGES_DECLARED,
        "catalogue_search": retrieval.SEARCH_DECLARED,
        "class_labels": class_labels.DECLARED,
        "image_decoder": image_decoder.DECLARED,
        "image_text_match": image_text.DECLARED,
        "question_answerer": answers.DECLARED,
        "series_forecast": Declaration(),
        "series_window": forecasting.WINDOW_DECLARED,
        "soft_vote": soft_vote.DECLARED,
        "tabular_features": feature_store.DECLARED,
        "text_tokenizer": text_tokenizer.DECLARED,
        "token_entities": entities.DECLARED,
        ZERO_SHOT: zero_shot_entailment.DECLARED,
    }
)


def declared(backend: str, model: StepModel) -> Declaration | None:
    """What a backend wants of this model; None for a backend that is not ours."""
    if backend == ZERO_SHOT and zero_shot_similarity.PIPELINE.name in model.parameters:
        return zero_shot_similarity.DECLARED
    return _DECLARATIONS.get(backend)
