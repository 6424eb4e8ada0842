"""What a step's config.pbtxt says to the step and, so that both do the same, to the reference."""

from __future__ import annotations

from conch_tools.check.pbtxt import Unparsable, parse
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline


def step_parameters(pipeline: Pipeline, role: str) -> dict[str, str]:
    """The config parameters of the step that plays a role. Raises BuildError when they cannot be read."""
    file = pipeline.folder.parent / pipeline.step(role) / "config.pbtxt"
    if not file.is_file():
        raise BuildError(pipeline.name, f"{file} is missing: the step is configured there")
    config = parse(file.read_text(encoding="utf-8"))
    if isinstance(config, Unparsable):
        raise BuildError(pipeline.name, f"{file}, line {config.line}: {config.sentence}")
    return {key: str(value.string_value) for key, value in config.parameters.items()}
