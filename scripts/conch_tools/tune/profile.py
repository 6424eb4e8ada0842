"""The files that a tuning leaves: configs/<profile>.pbtxt of the models whose configuration it changes, no others.

A file keeps the text of the model's configuration, comments included, with only the fields that differ written anew.
Triton serves a model without such a file with its config.pbtxt, so what an earlier tuning wrote for a model that is now
left alone is removed. Files of the same name that no tuning wrote are never touched unless that is asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.check.pbtxt import Unparsable, parse
from conch_tools.check.repository import CONFIG, PROFILES
from conch_tools.errors import SettingsError
from conch_tools.files import write_whole
from conch_tools.releases.configs import as_written
from conch_tools.tune.errors import ProfileTaken

MARK = "# Written by `conch tune"
"""Begins every file that a tuning wrote."""
PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FIELD = re.compile(r"(?P<name>[a-z_]+)\b")
_NO_BRACKETS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|#.*")
"""Strings and comments, whose brackets do not count."""


@dataclass(frozen=True)
class Profile:
    """A profile of some models of a repository."""

    name: str
    repository: Path
    models: tuple[str, ...]

    def file(self, model: str) -> Path:
        """Where a model's configuration for this profile lies."""
        return self.repository / model / PROFILES / f"{self.name}.pbtxt"

    def require_writable(self, force: bool) -> None:
        """Raises SettingsError for a name that is no file's, ProfileTaken for files that no tuning wrote (unless
        forced), OSError for folders that cannot be written."""
        if not PROFILE_NAME.fullmatch(self.name):
            raise SettingsError(f"{self.name!r} is no name of a profile: use letters, digits, - and _")
        for model in self.models:
            file = self.file(model)
            if file.exists() and not force and not _is_ours(file):
                raise ProfileTaken(
                    f"{file} was not written by a tuning: name another --profile, or overwrite it with --force"
                )
            folder = file.parent if file.parent.is_dir() else self.repository / model
            if not os.access(folder, os.W_OK):
                raise PermissionError(13, "a profile cannot be written there, only --dry-run is possible", str(folder))

    def write(self, configs: Mapping[str, ModelConfig], header: str) -> list[Path]:
        """Write the files of the models whose configuration is not that of config.pbtxt, remove the others.

        Each file is complete or not there at all. Returns what was written.
        """
        texts = {}
        for model, config in configs.items():
            text = (self.repository / model / CONFIG).read_text(encoding="utf-8")
            if _differs(text, config):
                texts[self.file(model)] = f"{header}{rewritten(text, config)}"
        for file, text in texts.items():
            file.parent.mkdir(exist_ok=True)
            write_whole(file, text)
        for model in configs:
            if self.file(model) not in texts:
                self.file(model).unlink(missing_ok=True)
        return list(texts)


def rewritten(text: str, config: ModelConfig) -> str:
    """The configuration's text with what differs in `config` written anew at its end, and everything else as it is.

    Text that is laid out too freely for that is replaced as a whole.
    """
    old = parse(text)
    if isinstance(old, Unparsable):
        return str(text_format.MessageToString(config))
    before, after = _fields(old), _fields(_named(config, old.name))
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    keys = {key for key in {*old.parameters, *config.parameters} if _parameter(old, key) != _parameter(config, key)}
    fresh = _named(config, old.name)
    for name in after.keys() - changed - {"parameters"}:
        fresh.ClearField(name)
    for key in set(fresh.parameters) - keys:
        del fresh.parameters[key]
    kept = "".join(_without(text, changed - {"parameters"}, keys)).rstrip()
    result = f"{kept}\n# Tuned:\n{text_format.MessageToString(fresh)}"
    return result if parse(result) == _named(config, old.name) else str(text_format.MessageToString(config))


def _without(text: str, fields: set[str], parameters: set[str]) -> Iterator[str]:
    """The lines without those of some fields, which begin in the first column and end with their last bracket."""
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        field = _FIELD.match(line)
        block = [line]
        if field is not None:
            while _open_brackets("".join(block)) > 0:
                following = next(lines, None)
                if following is None:
                    break
                block.append(following)
            whole = "".join(block)
            if field["name"] in fields or (field["name"] == "parameters" and _key_of(whole) in parameters):
                continue
        yield from block


def _open_brackets(text: str) -> int:
    plain = _NO_BRACKETS.sub("", text)
    return sum(plain.count(opening) for opening in "{[") - sum(plain.count(closing) for closing in "}]")


def _key_of(entry: str) -> str:
    parsed = parse(entry)
    return "" if isinstance(parsed, Unparsable) else next(iter(parsed.parameters), "")


def _fields(config: ModelConfig) -> dict[str, Any]:
    return {field.name: value for field, value in config.ListFields()}


def _parameter(config: ModelConfig, key: str) -> str | None:
    return config.parameters[key].string_value if key in config.parameters else None


def _named(config: ModelConfig, name: str) -> ModelConfig:
    copy: ModelConfig = ModelConfig()
    copy.CopyFrom(config)
    copy.name = name
    return copy


def _differs(text: str, config: ModelConfig) -> bool:
    old = parse(text)
    return isinstance(old, Unparsable) or _named(config, old.name) != old


def _is_ours(file: Path) -> bool:
    # Releases write a line of theirs before it.
    return as_written(file.read_text(encoding="utf-8", errors="replace")).startswith(MARK)
