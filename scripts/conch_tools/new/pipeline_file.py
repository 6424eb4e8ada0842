"""The text of a new pipeline.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from conch_tools.pipelines import Pipeline


def pipeline_file(
    pipeline: Pipeline,
    source: Mapping[str, str],
    samples: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    limit: str = "",
) -> str:
    """The whole file; `samples` are inputs with the answers they must get, `limit` is what [text] remarks."""
    parts = [
        f"# What `{pipeline.name}` is made from, and how we know that it works. `conch build` reads this file.\n"
        f"task = {_value(pipeline.task)}\ndescription = {_value(pipeline.description)}\n",
        _table("source", source),
        *([] if pipeline.text is None else [_table("text", pipeline.text.model_dump(), limit)]),
        "[gates]\nmax_abs_difference = 1e-4\n",
        "# What the source answers. A running pipeline that answers otherwise is not well: name samples that tell.",
        *(f"[[samples]]\ninput = {_value(sent)}\nexpect = {_value(expected)}\n" for sent, expected in samples),
    ]
    if pipeline.deployment is not None:
        said = "# What it is for, and the sizes that follow; the overlay for Kubernetes takes them from here.\n"
        parts.append(said + _table("deployment", pipeline.deployment.model_dump()))
    return "\n".join(parts)


def _table(title: str, values: Mapping[str, Any], remark: str = "") -> str:
    remarked = f"# {remark}\n" if remark else ""
    return f"[{title}]\n{remarked}" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    """As TOML writes it; JSON writes texts, numbers and truth values the same. Several things stand a line each."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(each, Mapping) for each in value):
        return "[\n" + "".join(f"    {_value(each)},\n" for each in value) + "]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
