"""Find a given tabular model: a file, or a registered model of MLflow; the end of the file's name says what it is."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from conch_tools.build.estimator import PICKLES, read_estimator
from conch_tools.build.estimator_apart import SKOPS
from conch_tools.build.mlflow_store import fetched
from conch_tools.build.network_table import read_network_table
from conch_tools.build.networks import TORCHSCRIPT, is_network
from conch_tools.build.onnx_classifier import read_classifier
from conch_tools.build.sources import source_file
from conch_tools.build.tabular_model import TabularModel
from conch_tools.build.torchserve import ENDING
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline

ONNX = ".onnx"


def tabular_model(pipeline: Pipeline) -> TabularModel:
    """The classifier of the pipeline's source. Raises BuildError saying what is missing, or what it is instead."""
    if is_network(pipeline):
        return _network(pipeline)
    uri = pipeline.source.mlflow
    if uri is None:
        return _read(pipeline, source_file(pipeline), {}, {})
    folder = Path(tempfile.mkdtemp(prefix="conch-mlflow-"))
    try:
        stored = fetched(pipeline.name, uri, folder)
        model = _read(
            pipeline, stored.file, stored.columns, {"mlflow_version": stored.version} if stored.version else {}
        )
    except BaseException as problem:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(problem, BuildError):
            # Nobody knows the file by where it was brought.
            raise BuildError(pipeline.name, problem.problem.replace(str(folder), uri)) from problem
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def _network(pipeline: Pipeline) -> TabularModel:
    file = pipeline.source.file
    if file is not None and file.suffix == ENDING:
        raise BuildError(
            pipeline.name,
            f"{file}: of an archive of TorchServe's, what its handler makes of a request is known for images only: "
            "give the network alone, as TorchScript (.pt) or as module:PACKAGE.MODULE:FUNCTION",
        )
    return read_network_table(pipeline)


def _read(pipeline: Pipeline, file: Path, signature: Mapping[str, str], origin: Mapping[str, str]) -> TabularModel:
    if file.suffix == ONNX:
        return read_classifier(pipeline.name, file, list(signature), origin)
    if file.suffix in (SKOPS, *PICKLES):
        return read_estimator(pipeline.name, file, pipeline.source.runs_code, signature, origin)
    kinds = ", ".join((ONNX, SKOPS, *PICKLES, *TORCHSCRIPT))
    raise BuildError(pipeline.name, f"{file}: its name must end with the kind of model that it is: {kinds}")
