"""The text of a new pipeline.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from conch_tools.pipelines import Pipeline


def pipeline_file(
    pipeline: Pipeline, source: Mapping[str, str], samples: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> str:
    """The whole file; `samples` are inputs with the answers they must get."""
    parts = [
        f"# What `{pipeline.name}` is made from, and how we know that it works. `conch build` reads this file.\n"
        f"task = {_value(pipeline.task)}\ndescription = {_value(pipeline.description)}\n",
        _table("source", source),
        *([] if pipeline.text is None else [_table("text", pipeline.text.model_dump())]),
        "[gates]\nmax_abs_difference = 1e-4\n",
        "# What the source answers. A running pipeline that answers otherwise is not well: name samples that tell.",
        *(f"[[samples]]\ninput = {_value(sent)}\nexpect = {_value(expected)}\n" for sent, expected in samples),
    ]
    if pipeline.deployment is not None:
        said = "# What it is for, and the sizes that follow; the overlay for Kubernetes takes them from here.\n"
        parts.append(said + _table("deployment", pipeline.deployment.model_dump()))
    return "\n".join(parts)


def _table(title: str, values: Mapping[str, Any]) -> str:
    return f"[{title}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    """As TOML writes it; JSON writes texts, numbers and truth values the same."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
