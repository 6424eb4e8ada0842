"""A new pipeline.toml says what it was told, in a form that is read back the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conch_tools.deployment import sized
from conch_tools.new.pipeline_file import pipeline_file
from conch_tools.pipelines import (
    CategoricalFeature,
    NumericFeature,
    Pipeline,
    Sample,
    Source,
    Text,
    load_pipeline,
)

AWKWARD = 'quotes " and \\ backslashes,\na new line, \u2028, 東京 🙂, # and [brackets] = "x"'
ROW = {"sepal length (cm)": 5.1, 'a "quoted" name': "north", "plain": -1e9}
SAMPLES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"text": AWKWARD, "labels": ["a", "b"]}, {"label": "a", "embedding": [0.25, -1e-4, 3.0]}),
    ({"text": ""}, {"entities": [{"text": "Ada", "start": 0}, {"text": "Oslo", "start": 9}]}),
    ({"text": "x"}, {"entities": [], "nested": [[{"token": "a"}], [{"token": "b"}]]}),
]


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(
        name="reviews",
        folder=tmp_path / "reviews",
        task="text-classification",
        description="What a review says.",
        source=Source(hub="owner/name"),
        samples=[Sample(input=sent, expect=expected) for sent, expected in SAMPLES],
        text=Text(max_tokens=64),
        deployment=sized("web", "cloud", "throughput", "medium"),
    )


def test_the_file_reads_back_as_the_pipeline_that_was_told(pipeline: Pipeline) -> None:
    pipeline.folder.mkdir()
    (pipeline.folder / "pipeline.toml").write_text(
        pipeline_file(pipeline, {"hub": "owner/name"}, SAMPLES), encoding="utf-8"
    )
    assert load_pipeline(pipeline.folder) == pipeline


def test_a_table_that_a_pipeline_does_not_have_is_not_there(pipeline: Pipeline) -> None:
    bare = pipeline.model_copy(update={"text": None, "deployment": None})
    text = pipeline_file(bare, {"hub": "owner/name"}, SAMPLES)
    assert "[text]" not in text
    assert "[deployment]" not in text


def test_things_found_stand_a_line_each(pipeline: Pipeline) -> None:
    text = pipeline_file(pipeline, {"hub": "owner/name"}, SAMPLES)
    assert '\n    { text = "Ada", start = 0 },\n    { text = "Oslo", start = 9 },\n' in text


def test_features_of_any_name_are_read_back_in_their_order(tmp_path: Path) -> None:
    written = Pipeline(
        name="mine",
        folder=tmp_path,
        task="tabular-classification",
        description="Flowers.",
        source=Source(file=Path("model.pkl"), runs_code=True),
        features={
            "sepal length (cm)": NumericFeature(type="numeric", minimum=-1e9, maximum=1e9),
            'a "quoted" name': CategoricalFeature(type="categorical", categories=["north", "süd"]),
            "plain": NumericFeature(type="numeric", minimum=0.5, maximum=1e-7 + 0.5),
        },
        samples=[Sample(input={"features": ROW}, expect={"label": "a"})],
    )
    text = pipeline_file(written, {"file": "model.pkl", "runs_code": True}, [({"features": ROW}, {"label": "a"})])
    (tmp_path / "pipeline.toml").write_text(text, encoding="utf-8")
    read = load_pipeline(tmp_path)
    assert read.source == written.source
    assert list(read.features.items()) == list(written.features.items())
    assert read.samples == written.samples
