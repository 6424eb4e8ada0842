"""A builder reads the parameters that its reference must share with the step, or says which file it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.build.step_config import step_parameters
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, load_pipeline

PIPELINE = """
task = "token-classification"
description = "Names."
[source]
folder = "/nowhere"
[[samples]]
input = { text = "a" }
expect = { entities = [] }
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "names").mkdir()
    (tmp_path / "names_entities").mkdir()
    (tmp_path / "names" / "pipeline.toml").write_text(PIPELINE)
    return load_pipeline(tmp_path / "names")


def test_parameters_are_read_by_name(pipeline: Pipeline) -> None:
    file = pipeline.folder.parent / "names_entities" / "config.pbtxt"
    file.write_text('parameters { key: "overlap" value { string_value: "64" } }')
    assert step_parameters(pipeline, "entities") == {"overlap": "64"}


def test_a_file_that_is_missing_or_unreadable_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(BuildError, match=r"names_entities/config\.pbtxt is missing"):
        step_parameters(pipeline, "entities")
    (pipeline.folder.parent / "names_entities" / "config.pbtxt").write_text("name: 'x'\nparameters {")
    with pytest.raises(BuildError, match=r"names_entities/config\.pbtxt:\d"):
        step_parameters(pipeline, "entities")
