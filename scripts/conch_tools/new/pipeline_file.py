"""The text of a new pipeline.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from conch_tools.build.torchvision_images import SETTINGS
from conch_tools.new.told import USUAL
from conch_tools.pipelines import Image, Pipeline

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""What TOML takes as a key without quotes."""
CLASSES = "Names of the classes, in the order of the scores; they are yours to choose."
LONG = 1e6
"""From here on a round number is written with an exponent."""


def pipeline_file(
    pipeline: Pipeline,
    source: Mapping[str, str | bool],
    samples: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    limit: str = "",
) -> str:
    """The whole file; `samples` are inputs with the answers they must get, `limit` is what [text] remarks."""
    parts = [
        f"# What `{pipeline.name}` is made from, and how we know that it works. `conch build` reads this file.\n"
        f"task = {_value(pipeline.task)}\ndescription = {_value(pipeline.description)}\n",
        _table("source", source),
        *([] if pipeline.text is None else [_table("text", pipeline.text.model_dump(), limit)]),
        *([] if pipeline.image is None else [_image(pipeline.image)]),
        *([] if pipeline.table is None else [_table("table", pipeline.table.model_dump(), CLASSES)]),
        *([_features(pipeline)] if pipeline.features else []),
        _table("gates", {"max_abs_difference": pipeline.gates.max_abs_difference}),
        "# What the source answers. A running pipeline that answers otherwise is not well: name samples that tell.",
        *(_sample(sent, expected) for sent, expected in samples),
    ]
    if pipeline.deployment is not None:
        said = "# What it is for, and the sizes that follow; the overlay for Kubernetes takes them from here.\n"
        parts.append(said + _table("deployment", pipeline.deployment.model_dump()))
    return "\n".join(parts)


def _image(image: Image) -> str:
    usual = USUAL if image.preprocessing == SETTINGS else "in the words of a preprocessor_config.json"
    return f"[image]\n# {CLASSES}\nlabels = {_value(image.labels)}\n\n" + _table(
        "image.preprocessing", image.preprocessing, f"How an image becomes pixels: {usual}."
    )


def _features(pipeline: Pipeline) -> str:
    said = {name: each.model_dump(exclude_none=True) for name, each in pipeline.features.items()}
    return (
        "# What a row may hold, in the order of the model's columns; the names are yours to choose. The model does\n"
        "# not tell what the data reach, so the bounds are wide: narrow them to refuse what cannot be. A feature\n"
        "# without a default must be given.\n" + _table("features", said)
    )


def _sample(sent: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """A table of its own for each object that is sent: as one line it would be long."""
    plain = {name: value for name, value in sent.items() if not isinstance(value, Mapping)}
    objects = {name: value for name, value in sent.items() if isinstance(value, Mapping)}
    lines = [f"input = {_value(plain)}\n"] if plain else []
    tables = (_table(f"samples.input.{name}", value) for name, value in objects.items())
    return "".join(["[[samples]]\n", *lines, f"expect = {_value(expected)}\n", *tables])


def _table(title: str, values: Mapping[str, Any], remark: str = "") -> str:
    remarked = f"# {remark}\n" if remark else ""
    return f"[{title}]\n{remarked}" + "".join(f"{_key(key)} = {_value(value)}\n" for key, value in values.items())


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    """As TOML writes it; JSON writes texts, numbers and truth values the same. Several things stand a line each."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(each, Mapping) for each in value):
        return "[\n" + "".join(f"    {_value(each)},\n" for each in value) + "]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    if isinstance(value, float) and abs(value) >= LONG and value == float(f"{value:g}"):
        return f"{value:g}".replace("e+0", "e")
    return json.dumps(value, ensure_ascii=False)
