"""docs/check.md is what the rules say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

from conch_tools.check.docs import page
from conch_tools.check.rules import all_rules

PAGE = Path(__file__).parents[4] / "docs" / "check.md"


def test_the_page_is_current() -> None:
    current = PAGE.read_text(encoding="utf-8") == page()
    assert current, "run: python -m conch_tools.check.docs > docs/check.md"


def test_every_rule_is_listed_and_has_a_section_to_go_to() -> None:
    codes = sorted(rule.code for rule in all_rules())
    text = page()
    assert sorted(re.findall(r"^\| \[(\w+)\]\(#\w+\)", text, re.MULTILINE)) == codes
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == codes
    assert text.count("\nBad ") == text.count("\nGood") == len(codes)
    assert f"and {len(codes)} rules," in text
