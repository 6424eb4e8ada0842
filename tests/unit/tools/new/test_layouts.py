"""What `conch new` writes reads as what was written by hand: with the facts of the repository's own pipelines it is,
to the letter, what they have.
"""

from __future__ import annotations

from typing import Any

import pytest

from conch_tools.check.pbtxt import Unparsable, parse
from conch_tools.deployment import Priority
from conch_tools.new.layouts import LAYOUTS, Facts
from conch_tools.pipelines import Pipeline, Task, load_pipeline
from conch_tools.settings import Settings

REPOSITORY = Settings().repository


def facts_with(pipeline: Pipeline, **known: Any) -> Facts:
    """Of the source of one of our own, of which `known` is decided otherwise there."""
    untrained = pipeline.source.model_copy(update={"training": None})
    found = LAYOUTS[pipeline.task].facts(pipeline.model_copy(update={"source": untrained}))
    return Facts({**found.filled_in, **known}, found.text)


def configurations(pipeline: Pipeline, found: Facts, priority: Priority) -> dict[str, str]:
    return LAYOUTS[pipeline.task].configurations(pipeline, found, priority)


def written(model: str) -> str:
    return (REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        # Its head and its windows are its own training's.
        ("ner", {"output_dims": "-1, 11", "max_tokens": 128, "overlap": 32}),
        ("qa", {}),
        ("embed", {}),
    ],
)
def test_our_own_pipelines_would_be_written_as_they_are(name: str, known: dict[str, Any]) -> None:
    pipeline = load_pipeline(REPOSITORY / name)
    found = facts_with(pipeline, **known)
    assert configurations(pipeline, found, "latency") == {model: written(model) for model in (name, *pipeline.models)}
    assert found.text == pipeline.text


NAMES = (
    "output",
    "output_dims",
    "columns",
    "pixels",
    "classes",
    "activation",
    "activation_comment",
    "max_tokens",
    "overlap",
    "strategy",
)
"""Of the templates; the rest may be nothing."""


@pytest.mark.parametrize("task", LAYOUTS)
def test_every_template_is_filled_in_and_parses(task: Task) -> None:
    pipeline = load_pipeline(REPOSITORY / "embed").model_copy(update={"name": "stars", "task": task})
    filled = {**dict.fromkeys(NAMES, "1"), "strategy": "first", "dimensions": 1, "about_output": "", "segments": ""}
    found = Facts(filled)
    for model, text in configurations(pipeline, found, "throughput").items():
        config = parse(text)
        assert not isinstance(config, Unparsable)
        assert config.name == model
        assert config.max_batch_size == 64
        assert "$" not in text
        assert "" not in text.splitlines()


def test_where_throughput_comes_first_a_batch_of_the_model_waits_for_others() -> None:
    pipeline = load_pipeline(REPOSITORY / "embed")
    found = facts_with(pipeline)
    assert "max_queue_delay_microseconds: 2000" in configurations(pipeline, found, "throughput")["embed_model"]
    for model, text in configurations(pipeline, found, "cost").items():
        assert "max_queue_delay" not in text, model


def test_samples_of_masks_have_the_mask_of_the_tokenizer() -> None:
    sent = [sample.input["text"] for sample in LAYOUTS["fill-mask"].sent(Facts({"mask": "<mask>"}))]
    assert all("<mask>" in text and "$" not in text for text in sent)
