"""Small JSON artifacts of a version folder, each read into the dataclass that names its fields."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from conch_steps.errors import ArtifactError, ModelConfigError

Form = TypeVar("Form")


def read_artifact(path: Path, form: type[Form]) -> Form:
    """The JSON object in a file as a `form`, a dataclass.

    Raises ArtifactError when it is missing, ModelConfigError when it is no such object.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: run `conch build`")
    try:
        return form(**json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as problem:
        dataclass: Any = form
        *names, last = [field.name for field in fields(dataclass)]
        raise ModelConfigError(
            f"{path} must be a JSON object with {', '.join(names)} and {last}: {problem}"
        ) from problem
