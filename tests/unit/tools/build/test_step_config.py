"""A reference is asked with the parameters that the step itself is configured with."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.build.step_config import step_parameters
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, load_pipeline

PIPELINE = """
task = "retrieval"
description = "Shapes."
[source]
package = "none"
[[samples]]
input = { query = "round" }
expect = { results = [] }
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    for name in ("shapes", "shapes_index"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"\n', encoding="utf-8")
    (tmp_path / "shapes" / "pipeline.toml").write_text(PIPELINE, encoding="utf-8")
    return load_pipeline(tmp_path / "shapes")


def configure(pipeline: Pipeline, text: str) -> Path:
    file = pipeline.folder.parent / "shapes_index" / "config.pbtxt"
    file.write_text(text, encoding="utf-8")
    return file


def test_parameters_come_by_name(pipeline: Pipeline) -> None:
    assert step_parameters(pipeline, "index") == {}
    configure(pipeline, 'parameters { key: "scale" value { string_value: "20" } }')
    assert step_parameters(pipeline, "index") == {"scale": "20"}


def test_a_config_that_is_absent_or_no_config_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(BuildError, match=r"shapes_words/config\.pbtxt is missing"):
        step_parameters(pipeline, "words")
    file = configure(pipeline, "\nbackend: \n")
    with pytest.raises(BuildError, match=rf"{file}, line \d"):
        step_parameters(pipeline, "index")
