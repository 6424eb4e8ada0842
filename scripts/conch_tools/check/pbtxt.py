"""Reading a config.pbtxt: protobuf decides whether it is valid, `Mark`s say on which line each field stands.

Protobuf's parser for Python takes some signs that Triton's, which is C++, refuses: these are looked for first. The
other way round, C++ lets blanks and comments stand between a minus and its number: Python is given them before it.

The Python parser of protobuf's text format keeps no positions, so a second, forgiving reader walks the same
text and only notes where fields begin. It never judges: what it cannot follow it leaves out, and a finding
then points to the nearest field around.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from google.protobuf import text_format
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2

from conch_tools.check.findings import cure_for_name, listed
from conch_tools.errors import RepositoryError

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<word>-(?P<gap>(?:\s|\#[^\n\0]*\n)+)(?P<number>(?:\.?\d|(?i:inf|nan))[\w.+-]*)|[\w.+-]+)
      | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_REFUSED_WORD = re.compile(r"\+|-?\d\w*_", re.ASCII)
"""How numbers begin that are some to Python and none to C++: +8, 1_000."""
_IN_ITS_PLACE = {"Zs": "a blank", "Pi": '`"`', "Pf": '`"`', "Pd": "`-`"}
"""What is meant by signs that word processors and web pages put in, by their category in Unicode."""
_BYTE_ORDER_MARK = "\ufeff"
_OPENERS = {"{": "}", "<": ">"}
_UNKNOWN_FIELD = re.compile(r'Message type "(?P<type>[\w.]+)" has no field named "(?P<name>\w+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "(?P<type>[\w.]+)" has no value named (?P<name>\w+)')
_SECOND_OF_ONE = re.compile(r"another member of oneof \"scheduling_choice\"")
_QUOTED_LINE = re.compile(r"^'.*': (?=\S)", re.DOTALL)

_COMMON_DATA_TYPES = {
    "BYTES": "TYPE_STRING",
    "STR": "TYPE_STRING",
    "FLOAT": "TYPE_FP32",
    "FLOAT16": "TYPE_FP16",
    "FLOAT32": "TYPE_FP32",
    "FLOAT64": "TYPE_FP64",
    "DOUBLE": "TYPE_FP64",
    "HALF": "TYPE_FP16",
    "BFLOAT16": "TYPE_BF16",
    "INT": "TYPE_INT32",
    "LONG": "TYPE_INT64",
}
"""What NumPy, PyTorch or the KServe protocol call a type, where difflib would not see the likeness."""


@dataclass(frozen=True)
class Mark:
    """Where a message or a value begins, with the marks of the fields inside. A file is a message, too."""

    line: int
    column: int
    value: str | None = None
    fields: Mapping[str, tuple[Mark, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def at(self, name: str, index: int = 0) -> Mark:
        """The mark of the field `name` (its `index`-th, if repeated), or this mark if the text lacks it."""
        marks = self.fields.get(name, ())
        return marks[index] if index < len(marks) else self

    def entries(self, name: str) -> tuple[tuple[str, Mark], ...]:
        """Keys and marks of the map field `name`, in the order of the text; a key can stand there twice."""
        return tuple((mark.at("key").value or "", mark) for mark in self.fields.get(name, ()))

    def entry(self, name: str, key: str) -> Mark:
        """The mark of the last entry (it counts) with this key in the map field `name`, or this mark."""
        marks = [mark for entry_key, mark in self.entries(name) if entry_key == key]
        return marks[-1] if marks else self


@dataclass(frozen=True)
class Unparsable:
    """Why a text is no model configuration. `sentence` is the parser's own; line and column count from 1."""

    line: int
    column: int
    sentence: str
    cure: str


def text_of(file: Path) -> str:
    """A file as Triton reads it: it minds no byte that is not UTF-8, be it in a comment or in a string, and ends lines
    by a newline only. Raises OSError."""
    return file.read_bytes().decode("utf-8", errors="replace")


def parse(text: str) -> model_config_pb2.ModelConfig | Unparsable:
    """The configuration in a config.pbtxt, read as strictly as Triton reads it."""
    if (refused := _refused_sign(text)) is not None:
        return refused
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(_TOKEN.sub(_minus_at_its_number, text), config)
    except text_format.ParseError as exc:
        line, column = exc.GetLine() or 1, exc.GetColumn() or 1
        # str(exc) repeats the position and, for values, the whole source line in quotes.
        sentence = _QUOTED_LINE.sub("", str(exc).removeprefix(f"{line}:{column} : ")).rstrip(".")
        return Unparsable(line, column, sentence, _cure(sentence, text, line, column))
    # Enum values may be written as numbers, and the parser takes any number.
    for enum, number, mark in _unknown_numbers(config, marks(text)):
        values = listed(value.name for value in enum.values)
        sentence = f'Enum type "{enum.full_name}" has no value {number}'
        return Unparsable(mark.line, mark.column, sentence, f"use one of {values}")
    return config


def read_config(file: Path) -> model_config_pb2.ModelConfig:
    """The configuration in a file. Raises RepositoryError, with the line at fault, for one that cannot be read."""
    try:
        config = parse(text_of(file))
    except OSError as problem:
        raise RepositoryError(f"{file} cannot be read: {problem}") from problem
    if isinstance(config, Unparsable):
        raise RepositoryError(f"{file}:{config.line}: {config.sentence}: {config.cure}")
    return config


def _refused_sign(text: str) -> Unparsable | None:
    """The first sign outside of strings and comments that no text of protobuf has, and a zero byte anywhere."""
    for token in _tokens(text):
        sign = "\0" if "\0" in token.text else token.text
        if sign == "\0" or (token.kind == "sign" and not (sign.isascii() and sign.isprintable())):
            named = f"U+{ord(sign):04X} {unicodedata.name(sign, '')}".rstrip()
            return Unparsable(token.line, token.column, f"{named} stands here, which protobuf refuses", _cure_of(sign))
        if token.kind == "word" and _REFUSED_WORD.match(token.text):
            return Unparsable(token.line, token.column, f"`{token.text}` is no number", "write digits alone")
    return None


def _minus_at_its_number(token: re.Match[str]) -> str:
    """A token as it is, or with the minus behind the gap: by that no line or column of the file becomes another."""
    return token[0] if token["gap"] is None else f"{token['gap']}-{token['number']}"


def _cure_of(sign: str) -> str:
    if sign == _BYTE_ORDER_MARK:
        return "save the file as UTF-8 without a byte order mark"
    meant = _IN_ITS_PLACE.get(unicodedata.category(sign))
    return f"write {meant} in its place" if meant else "remove it; the file may be in another encoding than UTF-8"


def _unknown_numbers(message: Message, mark: Mark) -> Iterator[tuple[EnumDescriptor, int, Mark]]:
    for descriptor, content in message.ListFields():
        name, kind, enum = descriptor.name, descriptor.message_type, descriptor.enum_type
        if kind is not None and kind.GetOptions().map_entry:
            if kind.fields_by_name["value"].message_type is not None:
                for key, value in content.items():
                    yield from _unknown_numbers(value, mark.entry(name, str(key)).at("value"))
            continue
        for index, value in enumerate(content if descriptor.is_repeated else [content]):
            if kind is not None:
                yield from _unknown_numbers(value, mark.at(name, index))
            elif enum is not None and value not in enum.values_by_number:
                yield enum, value, mark.at(name, index)


def _cure(sentence: str, text: str, line: int, column: int) -> str:
    pool = model_config_pb2.ModelConfig.DESCRIPTOR.file.pool
    if found := _UNKNOWN_FIELD.search(sentence):
        names = pool.FindMessageTypeByName(found["type"]).fields_by_name.keys()
        return cure_for_name(found["name"], names, f"remove it; known here are {listed(sorted(names))}")
    if found := _UNKNOWN_VALUE.search(sentence):
        values = pool.FindEnumTypeByName(found["type"]).values_by_name.keys()
        # `GPU` is short for KIND_GPU, `FP32` for TYPE_FP32.
        whole = next((value for value in values if value.endswith(f"_{found['name'].upper()}")), None)
        meant = whole or _COMMON_DATA_TYPES.get(found["name"].upper().removeprefix("TYPE_"))
        if meant in values:
            return f"did you mean `{meant}`?"
        return cure_for_name(found["name"], values, f"use one of {listed(values)}")
    if _SECOND_OF_ONE.search(sentence):
        return "keep one of the two; an ensemble is batched in the models of its steps"
    rest = "\n".join(text.split("\n")[line - 1 :])
    if rest[column - 1 :].startswith("]"):
        return "remove the comma before this bracket: a list has commas between its elements only"
    return "correct the text here; braces, brackets and quotes before it may be at fault"


def marks(text: str) -> Mark:
    """The positions of all fields of a text that `parse` accepts."""
    return _Reader(text).message(Mark(1, 1), closer=None)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int


class _Reader:
    """Walks a valid text once. Only fields and their nesting matter; values are kept as plain strings."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0

    def message(self, start: Mark, closer: str | None) -> Mark:
        found: dict[str, list[Mark]] = {}
        while (token := self._take()) is not None and token.text != closer:
            if token.kind == "word":
                found.setdefault(token.text, []).extend(self._values(token))
        contents = {name: tuple(values) for name, values in found.items()}
        return Mark(start.line, start.column, None, MappingProxyType(contents))

    def _values(self, name: _Token) -> Iterator[Mark]:
        """One mark for each value of a field: at the field's name, or in a list at each element."""
        token = self._take()
        if token is not None and token.text == ":":
            token = self._take()
        if token is not None and token.text == "[":
            while (element := self._take()) is not None and element.text != "]":
                if element.text != ",":
                    yield self._value(element, element)
        elif token is not None:
            yield self._value(token, name)

    def _value(self, token: _Token, start: _Token) -> Mark:
        mark = Mark(start.line, start.column)
        if token.text in _OPENERS:
            return self.message(mark, _OPENERS[token.text])
        text = token.text[1:-1] if token.kind == "string" else token.text
        while token.kind == "string" and self._peek() == "string":
            text += self._tokens[self._next].text[1:-1]
            self._next += 1
        return Mark(mark.line, mark.column, text)

    def _take(self) -> _Token | None:
        if self._next == len(self._tokens):
            return None
        self._next += 1
        return self._tokens[self._next - 1]

    def _peek(self) -> str | None:
        return self._tokens[self._next].kind if self._next < len(self._tokens) else None


def _tokens(text: str) -> Iterator[_Token]:
    line, line_start = 1, 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "sign"
        if kind != "space" or "\0" in match[0]:
            written = match[0] if match["gap"] is None else f"-{match['number']}"
            yield _Token(kind, written, line, match.start() - line_start + 1)
        if newlines := match[0].count("\n"):
            line += newlines
            line_start = match.start() + match[0].rindex("\n") + 1
