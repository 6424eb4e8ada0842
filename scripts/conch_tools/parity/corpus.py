"""A user's own inputs: a text file, JSON lines or CSV, as what a pipeline takes.

    text       a line is the pipeline's one text; lines with nothing in them are passed over
    .jsonl     a line is an object, input tensor to value, as a sample of pipeline.toml has it
    .csv       the header names the input tensors; other columns are passed over

Of `image`, a value is the name of a file beside the corpus. Numbers and lists are written in JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from conch_tools.build.reference import Item, byte_item
from conch_tools.check.pbtxt import read_config
from conch_tools.data_types import WILDCARD, fits, protocol_name
from conch_tools.errors import CorpusError
from conch_tools.pipelines import value_to_send
from conch_tools.printable import shortened

JSON_LINES = (".jsonl", ".ndjson")
CSV = ".csv"
SHOWN_CHARACTERS = 60
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Input:
    """One of a pipeline's public input tensors: Triton's datatype, and dims without the batch."""

    name: str
    datatype: str
    dims: Sequence[int]

    @property
    def is_text(self) -> bool:
        """Whether a value is one text."""
        return self.datatype == "BYTES" and tuple(self.dims) == (1,)


@dataclass(frozen=True)
class Corpus:
    """What is asked, and where each case comes from."""

    items: Sequence[Item]
    file: Path | None = None
    lines: Sequence[int] = ()
    """Of the file, from 1."""

    def place(self, index: int) -> str:
        """Where a case is found: `line 3`, or `case 3` where there is no file."""
        return f"case {index + 1}" if self.file is None else f"line {self.lines[index]}"

    def refused(self, index: int, problem: str) -> CorpusError:
        """The error that a case of the file cannot be asked."""
        return CorpusError(self.file or Path("corpus"), self.lines[index] if self.file else None, problem)


def inputs_of(config_file: Path) -> list[Input]:
    """The input tensors that a config.pbtxt declares. Raises RepositoryError."""
    config = read_config(config_file)
    return [
        Input(each.name, protocol_name(model_config_pb2.DataType.Name(each.data_type)), tuple(each.dims))
        for each in config.input
    ]


def read_corpus(file: Path, inputs: Sequence[Input]) -> Corpus:
    """The cases in a file. Raises CorpusError naming the line that is no input for the pipeline."""
    items: list[Item] = []
    lines: list[int] = []
    for line, values in _lines(file, inputs):
        missing = [each.name for each in inputs if each.name not in values]
        unknown = [name for name in values if name not in {each.name for each in inputs}]
        if missing or unknown:
            wanted = ", ".join(each.name for each in inputs)
            wrong = f"there is no `{missing[0]}`" if missing else f"there is no input `{unknown[0]}`"
            raise CorpusError(file, line, f"{wrong}: a line has {wanted}")
        items.append({each.name: _tensor(each, values[each.name], file, line) for each in inputs})
        lines.append(line)
    if not items:
        raise CorpusError(file, None, "it holds no inputs: write one a line")
    return Corpus(items, file, lines)


def _lines(file: Path, inputs: Sequence[Input]) -> Iterator[tuple[int, Values]]:
    """Line number and values of each case."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise CorpusError(file, None, f"it cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise CorpusError(file, line, "this is no UTF-8: save the file in that encoding") from problem
    if file.suffix.lower() in JSON_LINES:
        yield from _json_lines(file, text)
    elif file.suffix.lower() == CSV:
        yield from _csv_lines(file, text, inputs)
    else:
        yield from _text_lines(file, text, inputs)


def _text_lines(file: Path, text: str, inputs: Sequence[Input]) -> Iterator[tuple[int, Values]]:
    if len(inputs) != 1 or not inputs[0].is_text or inputs[0].name == "image":
        wanted = ", ".join(each.name for each in inputs)
        raise CorpusError(file, None, f"a text file is for pipelines of one text, this one takes {wanted}: use .jsonl")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, {inputs[0].name: line.removesuffix("\r")}


def _json_lines(file: Path, text: str) -> Iterator[tuple[int, Values]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise CorpusError(file, number, f"this is no JSON: {problem}") from problem
        if not isinstance(values, dict):
            raise CorpusError(file, number, 'this is no JSON object: write {"text": "…"}')
        yield number, values


def _csv_lines(file: Path, text: str, inputs: Sequence[Input]) -> Iterator[tuple[int, Values]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        for each in inputs:
            if each.name not in columns:
                there = ", ".join(columns) or "none"
                raise CorpusError(file, 1, f"there is no column `{each.name}` in the header, which has {there}")
        for row in reader:
            if any(row[each.name] is None for each in inputs):
                raise CorpusError(file, reader.line_num, "this line has fewer columns than the header")
            yield reader.line_num, {each.name: _cell(each, row[each.name]) for each in inputs}
    except csv.Error as problem:
        raise CorpusError(file, reader.line_num + 1, f"this is no CSV: {problem}") from problem


def _cell(tensor: Input, cell: str) -> Any:
    """A text stays as it is written; anything else is JSON."""
    if tensor.is_text:
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _tensor(tensor: Input, value: Any, file: Path, line: int) -> npt.NDArray[Any]:
    """A value as the tensor of one case. Raises CorpusError when it is of another kind or shape."""
    try:
        sent = value_to_send(tensor.name, value, file.parent)
    except (OSError, TypeError, ValueError) as problem:
        raise CorpusError(file, line, f"`{tensor.name}`: the file {value!r} cannot be read: {problem}") from problem
    if tensor.datatype == "BYTES":
        texts = [sent] if isinstance(sent, str | bytes) else sent
        if not isinstance(texts, list) or not all(isinstance(each, str | bytes) for each in texts):
            raise CorpusError(file, line, f"`{tensor.name}` is {_shown(value)}, not a text or a list of texts")
        array = byte_item(value=texts)["value"]
    else:
        array = _numbers(tensor, sent, file, line)
    if not fits(array.shape, tensor.dims):
        dims = ", ".join("any" if size == WILDCARD else str(size) for size in tensor.dims)
        raise CorpusError(file, line, f"`{tensor.name}` has the shape {list(array.shape)}, the pipeline takes [{dims}]")
    return array


def _numbers(tensor: Input, value: Any, file: Path, line: int) -> npt.NDArray[Any]:
    dtype = np.dtype(triton_to_np_dtype(tensor.datatype))
    try:
        given = np.array(value if isinstance(value, list) else [value])
    except ValueError:
        given = np.array([None])
    if given.dtype.kind not in "fiub" or (dtype.kind in "iu" and given.dtype.kind == "f"):
        kind = "whole numbers" if dtype.kind in "iu" else "numbers"
        raise CorpusError(file, line, f"`{tensor.name}` is {_shown(value)}, not {kind}")
    if dtype.kind in "iu" and given.size and not np.array_equal(given.astype(dtype), given):
        raise CorpusError(file, line, f"`{tensor.name}` is {_shown(value)}, which does not fit {tensor.datatype}")
    return given.astype(dtype)


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), SHOWN_CHARACTERS)
