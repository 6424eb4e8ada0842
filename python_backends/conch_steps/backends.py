"""The declarations of all backends whose logic is here, by the name that config.pbtxt has for them.

For `conch check`: an adaptor imports its own logic only. `onnxruntime` has none, it takes what NVIDIA's backend takes.
A declaration is imported when it is asked for, because what its logic needs need not be installed where nobody uses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from conch_steps.parameters import Declaration
from conch_steps.serving import StepModel

ZERO_SHOT = "zero_shot"

_DECLARED_IN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "catalogue_changes": ("retrieval", "CHANGES_DECLARED"),
        "catalogue_search": ("retrieval", "SEARCH_DECLARED"),
        "class_labels": ("class_labels", "DECLARED"),
        "image_decoder": ("image_decoder", "DECLARED"),
        "image_text_match": ("image_text", "DECLARED"),
        "mask_filler": ("mask_filler", "DECLARED"),
        "question_answerer": ("answers", "DECLARED"),
        "series_forecast": ("forecasting", "FORECAST_DECLARED"),
        "series_window": ("forecasting", "WINDOW_DECLARED"),
        "soft_vote": ("soft_vote", "DECLARED"),
        "tabular_features": ("feature_store", "DECLARED"),
        "text_tokenizer": ("text_tokenizer", "DECLARED"),
        "token_entities": ("entities", "DECLARED"),
        ZERO_SHOT: ("zero_shot_entailment", "DECLARED"),
    }
)
"""Module of this package and name in it."""


def declared(backend: str, model: StepModel) -> Declaration | None:
    """What a backend wants of this model; None for a backend that is not ours."""
    if backend not in _DECLARED_IN:
        return None
    if backend == ZERO_SHOT:
        by_similarity = importlib.import_module("conch_steps.zero_shot_similarity")
        if by_similarity.PIPELINE.name in model.parameters:
            return _declaration(by_similarity, "DECLARED")
    module, name = _DECLARED_IN[backend]
    return _declaration(importlib.import_module(f"conch_steps.{module}"), name)


def _declaration(module: ModuleType, name: str) -> Declaration:
    found: Declaration = getattr(module, name)
    return found
