"""From an encoder's tokens to one vector of a text: by the very layers that sentence-transformers has for it.

Pooling of any kind, dense layers and scaling are taken into the graph as the library made them, so nothing of them is
written twice. A folder that says nothing of such layers gets their mean, as in the library itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from conch_tools.build.model_folder import read_json
from conch_tools.errors import BuildError, first_line
from conch_tools.pipelines import Pipeline

MODULES, OPTIONS, LIMITS = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
ENCODER = "Transformer"
LAYERS = ("Pooling", "Dense", "Normalize", "LayerNorm")
"""Layers that map what an encoder gives, with its mask, to vectors."""


class SentenceVectors(torch.nn.Module):
    """An encoder with the layers behind it: (ids [n, L], mask [n, L]) to vectors [n, dimensions]."""

    def __init__(self, encoder: PreTrainedModel, layers: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = torch.nn.ModuleList(layers)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        features: dict[str, torch.Tensor] = {"token_embeddings": states, "attention_mask": mask}
        for layer in self.layers:
            features = layer(features)
        return features["sentence_embedding"]


def sentence_model(pipeline: Pipeline, folder: Path) -> Any:
    """The whole as sentence-transformers loads it: its encoder, then the layers behind it. Raises BuildError where it
    cannot, and for a model that is more than an encoder with such layers."""
    from sentence_transformers import SentenceTransformer

    kinds = [ENCODER]
    if (folder / MODULES).is_file():
        kinds = [each["type"].rsplit(".", 1)[-1] for each in json.loads((folder / MODULES).read_text(encoding="utf-8"))]
    strange = [kind for kind in kinds[1:] if kind not in LAYERS]
    if kinds[0] != ENCODER or strange:
        raise BuildError(
            pipeline.name,
            f"{folder} is made of {', '.join(kinds)}: what is built is a {ENCODER} with {', '.join(LAYERS)} behind it",
        )
    _require_no_prompt(pipeline, folder)
    try:
        return SentenceTransformer(str(folder), device="cpu")
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as problem:
        said = f"{type(problem).__name__}: {first_line(problem)}"
        raise BuildError(pipeline.name, f"sentence-transformers cannot load {folder}: {said}") from problem


def sentence_limit(folder: Path) -> int | None:
    """The tokens of a text that a sentence-transformers model was made for; None where it does not say."""
    file = folder / LIMITS
    return json.loads(file.read_text(encoding="utf-8")).get("max_seq_length") if file.is_file() else None


def _require_no_prompt(pipeline: Pipeline, folder: Path) -> None:
    """Raise BuildError where the library would put words of its own before every text."""
    if not (folder / OPTIONS).is_file():
        return
    name = read_json(pipeline.name, folder / OPTIONS).get("default_prompt_name")
    if name is not None:
        raise BuildError(
            pipeline.name,
            f"{folder / OPTIONS} puts the prompt `{name}` before every text: set default_prompt_name to null there, "
            "and let callers send it, who know whether a text is asked or looked for",
        )
