"""Find a given tabular model: the end of a file's name says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conch_tools.build.estimator import PICKLES, read_estimator
from conch_tools.build.estimator_apart import SKOPS
from conch_tools.build.onnx_classifier import read_classifier
from conch_tools.build.sources import source_file
from conch_tools.build.tabular_model import TabularModel
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline

ONNX = ".onnx"


def tabular_model(pipeline: Pipeline) -> TabularModel:
    """The classifier of the pipeline's source. Raises BuildError saying what is missing, or what it is instead."""
    return _read(pipeline, source_file(pipeline), {}, {})


def _read(pipeline: Pipeline, file: Path, signature: Mapping[str, str], origin: Mapping[str, str]) -> TabularModel:
    if file.suffix == ONNX:
        return read_classifier(pipeline.name, file, list(signature), origin)
    if file.suffix in (SKOPS, *PICKLES):
        return read_estimator(pipeline.name, file, pipeline.source.runs_code, signature, origin)
    kinds = ", ".join((ONNX, SKOPS, *PICKLES))
    raise BuildError(pipeline.name, f"{file}: its name must end with the kind of model that it is: {kinds}")
