"""docs/check.md, written from the rules themselves:

python -m conch_tools.check.docs > docs/check.md
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from conch_tools.check.explain import in_markdown
from conch_tools.check.rulebook import Rule
from conch_tools.check.rules import SUBJECTS, all_rules

_INTRODUCTION = Path(__file__).with_name("introduction.md")


def page() -> str:
    """The whole page: how to use the check, a list of all rules, and each rule with its examples."""
    rules = sorted(all_rules(), key=lambda rule: rule.code)
    subjects = [(subject, list(own)) for subject, own in groupby(rules, key=lambda rule: SUBJECTS[rule.code[:3]])]
    sections = [_section(rule) for _, own in subjects for rule in own]
    return "\n\n".join([_INTRODUCTION.read_text(encoding="utf-8").strip(), *_contents(subjects), *sections]) + "\n"


def _contents(subjects: list[tuple[str, list[Rule[Any]]]]) -> Iterator[str]:
    for subject, rules in subjects:
        rows = (f"| [{rule.code}](#{rule.code.lower()}) | {rule.severity.value} | {rule.title} |" for rule in rules)
        yield "\n".join([f"**{subject}**", "", "| code | | |", "|---|---|---|", *rows])


def _section(rule: Rule[Any]) -> str:
    return f"### {rule.code}\n\n**{rule.title}** ({rule.severity.value})\n\n{in_markdown(rule)}"


if __name__ == "__main__":
    print(page(), end="")
