"""What a step's config.pbtxt says to the builder: the parameters that step and reference must share."""

from __future__ import annotations

from conch_tools.check.pbtxt import Unparsable, parse
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline


def step_parameters(pipeline: Pipeline, role: str) -> dict[str, str]:
    """The config parameters of `<pipeline>_<role>`. Raises BuildError when its config.pbtxt cannot be read."""
    file = pipeline.folder.parent / pipeline.step(role) / "config.pbtxt"
    if not file.is_file():
        raise BuildError(pipeline.name, f"{file} is missing: it configures the step {role}")
    config = parse(file.read_text(encoding="utf-8"))
    if isinstance(config, Unparsable):
        raise BuildError(pipeline.name, f"{file}:{config.line}: {config.sentence}")
    return {key: value.string_value for key, value in config.parameters.items()}
