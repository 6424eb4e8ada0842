"""What a profile changes in what a pipeline must answer.

A profile may serve another file of a model's graph, a variant, whose answers are off by as much as the pipeline's gate
allows. Its golden requests are held to that gate then, as those of pipelines that use it are to theirs; all others to
the tolerance of their samples.
"""

from __future__ import annotations

from pathlib import Path

from conch_tools.check.pbtxt import read_config
from conch_tools.check.repository import CONFIG, config_file_of
from conch_tools.pipelines import Pipeline, load_pipeline


def within_gate(pipeline: Pipeline, profile: str | None) -> Pipeline:
    """The pipeline with the tolerances that its samples have under a profile."""
    if profile is None or not _serves_variant(pipeline, profile):
        return pipeline
    most = pipeline.variant_gate.max_abs_difference
    samples = [each.model_copy(update={"tolerance": max(each.tolerance, most)}) for each in pipeline.samples]
    return pipeline.model_copy(update={"samples": samples})


def _serves_variant(pipeline: Pipeline, profile: str) -> bool:
    repository = pipeline.folder.parent
    return any(_is_varied(repository / model, profile) for model in pipeline.models) or any(
        _serves_variant(load_pipeline(repository / used), profile) for used in pipeline.uses
    )


def _is_varied(model: Path, profile: str) -> bool:
    """Whether a profile serves another file of a model."""
    own, plain = config_file_of(model, profile), model / CONFIG
    return own != plain and read_config(own).default_model_filename != read_config(plain).default_model_filename
