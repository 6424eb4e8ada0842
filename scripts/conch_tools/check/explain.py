"""What there is to know of a rule, for a terminal and in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from conch_tools.check.findings import cure_for_name
from conch_tools.check.rulebook import Rule
from conch_tools.check.rules import all_rules
from conch_tools.errors import SettingsError

_WIDTH = 100
_LANGUAGES = {".pbtxt": "proto", ".toml": "toml", ".json": "json", ".py": "py"}
"""What Markdown calls the languages of files, for colours."""


def rule_of(code: str) -> Rule[Any]:
    """The rule of a code, in capitals or not. Raises SettingsError for a code that there is not."""
    rules = {rule.code: rule for rule in all_rules()}
    if code.upper() not in rules:
        raise SettingsError(f"there is no rule {code}: {cure_for_code(code)}")
    return rules[code.upper()]


def cure_for_code(code: str) -> str:
    """The code that was probably meant, or where to look."""
    return cure_for_name(code, (rule.code for rule in all_rules()), "docs/check.md lists all of them")


def in_text(rule: Rule[Any]) -> str:
    """Title, severity, reason and examples as they are shown in a terminal."""
    title = f"{rule.code} ({rule.severity.value}): {rule.title}"
    shown = _examples(rule, lambda text: textwrap.indent(text, "    "))
    return "\n\n".join([title, textwrap.fill(rule.why, _WIDTH), *shown])


def in_markdown(rule: Rule[Any]) -> str:
    """Reason and examples; title and severity are a heading's, which is the page's to write."""
    language = _LANGUAGES.get(PurePosixPath(rule.example.path).suffix, "") if rule.example else ""
    return "\n\n".join([rule.why, *_examples(rule, lambda text: f"```{language}\n{text}\n```")])


def _examples(rule: Rule[Any], quoted: Callable[[str], str]) -> Iterator[str]:
    if example := rule.example:
        for words, text in ((f"Bad {example.where}", example.bad), (f"Good {example.instead}".strip(), example.good)):
            yield f"{words}:" if text else f"{words}."
            if text:
                yield quoted(text)
