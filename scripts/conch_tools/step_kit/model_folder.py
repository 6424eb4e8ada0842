"""A model's folder as Triton takes it up: config.pbtxt, the version that is served, the model.py that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from conch_tools.check.pbtxt import Unparsable, parse, text_of
from conch_tools.errors import StepNotLoaded, in_words

Config = dict[str, Any]

PYTHON = "python"
MODEL_FILE = "model.py"


@dataclass(frozen=True)
class ModelFolder:
    """Where a model lies and what its config.pbtxt says, as the JSON object that Triton gives to a step."""

    folder: Path
    version: str
    code: Path
    config: Config

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def version_folder(self) -> Path:
        return self.folder / self.version

    @classmethod
    def read(cls, folder: Path, backends: Path | None, version: str | None) -> ModelFolder:
        """`backends` holds Python-based backends; without `version` it is the highest, as Triton's default has it.

        Raises StepNotLoaded when Triton could not load it.
        """
        folder = folder.resolve()
        config = read_config(folder)
        version = version or latest_version(folder)
        if config["backend"] == PYTHON:
            code = folder / version / (config.get("default_model_filename") or MODEL_FILE)
        elif backends is not None:
            code = backends.resolve() / config["backend"] / MODEL_FILE
        else:
            raise StepNotLoaded(
                f"model `{folder.name}` is run by the backend `{config['backend']}`: "
                "say in which folder of Python-based backends it lies"
            )
        if not code.is_file():
            raise StepNotLoaded(
                f"model `{folder.name}` has no {code}: a step of the backend `{config['backend']}` is that file"
            )
        return cls(folder, version, code, config)


def read_config(folder: Path) -> Config:
    """Of a model or an ensemble. Raises StepNotLoaded for one that Triton could not read."""
    file = folder / "config.pbtxt"
    try:
        parsed = parse(text_of(file))
    except FileNotFoundError:
        if not folder.is_dir():
            raise StepNotLoaded(f"there is no model folder {folder}: name one that holds a config.pbtxt") from None
        parsed = parse("")
    except OSError as problem:
        raise StepNotLoaded(f"{file} cannot be read: {in_words(problem)}") from problem
    if isinstance(parsed, Unparsable):
        raise StepNotLoaded(f"{file}:{parsed.line}:{parsed.column}: {parsed.sentence}: {parsed.cure}")
    parsed.name = parsed.name or folder.name
    if parsed.name != folder.name:
        raise StepNotLoaded(f"{file} names the model `{parsed.name}`, its folder `{folder.name}`: give both one name")
    parsed.backend = parsed.backend or ("" if parsed.platform else PYTHON)
    return as_json(parsed)


def latest_version(folder: Path) -> str:
    """Raises StepNotLoaded for a folder without versions."""
    numbers = [each.name for each in folder.iterdir() if each.is_dir() and each.name.isdigit() and int(each.name)]
    if not numbers:
        raise StepNotLoaded(f"{folder} has no version folder: make `{folder.name}/1`, even if it stays empty")
    return max(numbers, key=int)


def as_json(message: Message) -> Config:
    """The message as Triton writes it for backends: every scalar, messages that are set, numbers as numbers."""
    found: Config = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        is_message = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
        if is_message and field.message_type.GetOptions().map_entry:
            found[field.name] = {
                key: _plain(each, field.message_type.fields_by_name["value"]) for key, each in value.items()
            }
        elif _repeated(field):
            found[field.name] = [_plain(each, field) for each in value]
        elif (not is_message and not field.containing_oneof) or message.HasField(field.name):
            found[field.name] = _plain(value, field)
    return found


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)


def _plain(value: Any, field: FieldDescriptor) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return as_json(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    return value
