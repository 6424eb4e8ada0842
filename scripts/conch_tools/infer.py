"""`conch infer`: a running server's answers as plain JSON values, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conch_client import Client, InferResult, TensorMetadata
from conch_tools.errors import SettingsError

FILE_MARK = "@"


def infer(
    url: str,
    pipeline: str,
    arguments: Sequence[str],
    parameters: Sequence[str],
    timeout_s: float,
    version: str | int = "",
    loader: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The answers to one request for each argument, or to the one request that NAME=VALUE arguments make together.

    Numbers and lists are written in JSON; a value that begins with @ is the content of that file. `loader` is asked
    where the pipeline has left the memory. Raises SettingsError for arguments that do not fit the model, and the
    client's typed errors.
    """
    own = parameters_of(parameters)
    with Client(url, timeout_s=timeout_s, loader=loader) as client:
        tensors = {tensor.name: tensor for tensor in client.metadata(pipeline, version).inputs}
        for shown, inputs in requests_of(pipeline, tensors, arguments):
            answer = client.infer(pipeline, version, inputs=inputs, parameters=own)
            yield {"input": shown, **_readable(answer)}


def parameters_of(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE each, numbers and the like in JSON. Raises SettingsError."""
    return {name: _value(value) for name, value in (_named(each, "--parameter") for each in given)}


def requests_of(
    pipeline: str, tensors: Mapping[str, TensorMetadata], arguments: Sequence[str]
) -> Iterator[tuple[object, Mapping[str, object]]]:
    """Each request as it is shown and as values by tensor. Raises SettingsError for what does not fit the model."""
    named = [argument for argument in arguments if argument.partition("=")[0] in tensors]
    if named and len(named) == len(arguments):
        given = dict(_named(argument, "an input") for argument in arguments)
        yield given, {name: _value_for(tensors[name], value) for name, value in given.items()}
        return
    if len(tensors) != 1:
        wanted = " ".join(f"{name}=..." for name in tensors)
        raise SettingsError(f"`{pipeline}` takes {len(tensors)} inputs, name each of them: {wanted}")
    (tensor,) = tensors.values()
    for argument in arguments:
        yield argument, {tensor.name: _value_for(tensor, argument)}


def _named(argument: str, what: str) -> tuple[str, str]:
    name, mark, value = argument.partition("=")
    if not mark or not name:
        raise SettingsError(f"{what} is written NAME=VALUE, got {argument!r}")
    return name, value


def _value_for(tensor: TensorMetadata, value: str) -> object:
    """Numbers and lists are written in JSON; what goes to a tensor of one text is that text, whatever it looks like, or
    the bytes of a file that is no text."""
    content = _content(value)
    if tensor.datatype == "BYTES" and tensor.shape[-1] != -1:
        return content
    if isinstance(content, bytes):
        raise SettingsError(f"{value.removeprefix(FILE_MARK)} cannot be read as text: it is not UTF-8")
    return _value(content)


def _content(value: str) -> str | bytes:
    if not value.startswith(FILE_MARK):
        return value
    try:
        content = Path(value.removeprefix(FILE_MARK)).read_bytes()
    except OSError as problem:
        raise SettingsError(f"{value.removeprefix(FILE_MARK)} cannot be read: {problem.strerror}") from problem
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _value(text: str) -> Any:
    """What the text says in JSON, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _readable(answer: InferResult) -> dict[str, Any]:
    if {"label", "score"} <= answer.keys():
        scores = dict(zip(answer["label"].tolist(), answer["score"].tolist(), strict=True))
        return {"label": next(iter(scores)), "score": next(iter(scores.values())), "scores": scores}
    return {name: _plain(np.asarray(value)) for name, value in answer.items()}


def _plain(value: Any) -> Any:
    if value.dtype == np.object_ and value.size == 1:
        text = str(value.reshape(-1)[0])
        return _value(text) if text[:1] in ("[", "{") else text
    return value.tolist()
