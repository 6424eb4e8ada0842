"""A registered model of an MLflow store, brought into a folder: its file, its version, the columns of its signature.

MLflow itself finds the store (MLFLOW_TRACKING_URI, and its own variables for passwords and tokens) and brings the
files; it loads no model here. It is an extra, because most who build have no such store.
"""

from __future__ import annotations

import functools
import logging
import os
import urllib.parse
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch_tools.errors import BuildError

LOCAL = ("sqlite:///", "file://")
"""How the address of a store begins that is a file or a folder here."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Its own seven tries take minutes, in which nobody learns that a name is misspelt.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""What MLflow is told where the user told it nothing else."""
FLAVORS = {"onnx": "data", "sklearn": "pickled_model"}
"""Those that are taken, first the safer one, with the field of MLmodel that names the file."""
NUMBERS = ("integer", "long", "float", "double", "boolean")
TEXT = "string"


@dataclass(frozen=True)
class StoredModel:
    """A version of a registered model, in a folder here."""

    file: Path
    version: str
    columns: Mapping[str, str]
    """MLflow's type of each by its name; empty where it was logged without a signature, or with one of tensors."""


def fetched(pipeline: str, uri: str, folder: Path) -> StoredModel:
    """The model that `uri` names, its files in `folder`.

    Raises BuildError when the store is not there or does not answer, has no such version, or holds another kind.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            # SQLAlchemy finds fault with MLflow's own tables.
            warnings.simplefilter("ignore")
            import mlflow

            logging.getLogger("mlflow").setLevel(logging.ERROR)
            _require_store(pipeline, mlflow)
            return _fetched(pipeline, mlflow, uri, folder)
    except ModuleNotFoundError as problem:
        raise BuildError(
            pipeline, f"a source of MLflow needs {problem.name}, which is not installed: pip install conch[mlflow]"
        ) from problem


def _fetched(pipeline: str, mlflow: Any, uri: str, folder: Path) -> StoredModel:
    store = _without_password(mlflow.get_registry_uri())
    try:
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
        described = mlflow.models.Model.load(str(folder))
    except mlflow.MlflowException as problem:
        said = str(problem).strip().splitlines()[0]
        missing = problem.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
        what = f"MLflow at {store} has no {uri}" if missing else f"MLflow at {store} does not answer"
        raise BuildError(pipeline, f"{what}: {said}") from problem
    except OSError as problem:
        raise BuildError(pipeline, f"MLflow at {store} knows {uri}, but not its files: {problem}") from problem
    flavor = next((name for name in FLAVORS if name in described.flavors), None)
    if flavor is None:
        others = ", ".join(name for name in described.flavors if name != "python_function") or "python_function"
        raise BuildError(pipeline, f"{uri} has the flavor {others}, but {' or '.join(FLAVORS)} is needed")
    file = folder / described.flavors[flavor][FLAVORS[flavor]]
    return StoredModel(file, _version(folder), _columns(pipeline, uri, described.signature))


def _require_store(pipeline: str, mlflow: Any) -> None:
    """Without an address, or with that of a file that is not there, MLflow would make an empty store."""
    if not mlflow.tracking.is_tracking_uri_set():
        raise BuildError(pipeline, "MLFLOW_TRACKING_URI is not set: set it to the address of your MLflow store")
    address = mlflow.get_registry_uri()
    local = address.startswith(("/", ".", *LOCAL))
    path = Path(functools.reduce(str.removeprefix, LOCAL, address))
    if local and not path.exists():
        raise BuildError(pipeline, f"MLFLOW_TRACKING_URI: there is no {path}")


def _version(folder: Path) -> str:
    """What MLflow wrote beside the files; nothing beside those of a model that was logged and not registered."""
    import yaml

    noted = folder / "registered_model_meta"
    return str(yaml.safe_load(noted.read_text(encoding="utf-8"))["model_version"]) if noted.is_file() else ""


def _columns(pipeline: str, uri: str, signature: Any) -> dict[str, str]:
    if signature is None or signature.inputs is None or signature.inputs.is_tensor_spec():
        return {}
    columns = {str(each.name): getattr(each.type, "name", str(each.type)) for each in signature.inputs.inputs}
    for name, kind in columns.items():
        if kind not in (*NUMBERS, TEXT):
            raise BuildError(pipeline, f"{uri}: column {name!r} is of type {kind}: a row holds numbers and texts only")
    return columns


def _without_password(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return address.replace(f"{parts.username}:{parts.password}@", "") if parts.password else address
