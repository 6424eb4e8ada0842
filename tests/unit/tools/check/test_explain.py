"""What is told of a rule by its code."""

from __future__ import annotations

import pytest

from conch_tools.check.explain import in_markdown, in_text, rule_of
from conch_tools.errors import SettingsError


def test_a_rule_is_told_with_its_reason_and_both_examples() -> None:
    assert in_text(rule_of("ENS012")) == (
        "ENS012 (error): A step names a model that is not in the repository.\n\n"
        "Triton loads an ensemble only when all models of its steps are there.\n\n"
        "Bad in `topics/config.pbtxt`:\n\n"
        '    model_name: "topic_scores"\n\n'
        "Good:\n\n"
        '    model_name: "topics_scores"'
    )


def test_an_example_without_a_text_is_told_in_one_line() -> None:
    assert in_text(rule_of("FIL002")).endswith("\n\nBad without `topics/1`.\n\nGood with it.")


def test_markdown_names_the_language_of_the_file() -> None:
    assert "Bad in `topics/pipeline.toml`:\n\n```toml\nuses = " in in_markdown(rule_of("PIP002"))


def test_a_code_may_be_written_small() -> None:
    assert rule_of("ens012") is rule_of("ENS012")


@pytest.mark.parametrize(("code", "cure"), [("ENS12", "did you mean `ENS012`?"), ("XYZ", "docs/check.md lists all")])
def test_a_code_that_there_is_not_is_refused_with_the_likeliest(code: str, cure: str) -> None:
    with pytest.raises(SettingsError, match=f"there is no rule {code}: ") as refused:
        rule_of(code)
    assert cure in str(refused.value)
