"""What was not said is asked or has its usual answer, and every answer is one of those there are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conch_tools.errors import SettingsError
from conch_tools.new.questions import answers

TOLD: dict[str, str | None] = {"task": "text-classification", "source": "owner/name"}


def test_what_is_told_is_not_asked() -> None:
    told = {**TOLD, "application": "web", "environment": "edge", "priority": "cost", "load": "high"}

    def ask(text: str, choices: Sequence[str], usual: str | None) -> str:
        raise AssertionError(text)

    found = answers("reviews", told, ask)
    assert (found.name, found.task, found.source) == ("reviews", "text-classification", "owner/name")
    deployment = found.deployment
    said = (deployment.application, deployment.environment, deployment.priority, deployment.load)
    assert said == ("web", "edge", "cost", "high")


def test_what_is_not_told_is_asked_with_its_choices_and_its_usual_answer() -> None:
    asked: list[tuple[Sequence[str], str | None]] = []

    def ask(text: str, choices: Sequence[str], usual: str | None) -> str:
        asked.append((choices, usual))
        return "throughput" if "throughput" in choices else usual or ""

    found = answers("reviews", TOLD, ask)
    assert [usual for _, usual in asked] == ["api", "cloud", "latency", "low"]
    assert all(usual in choices for choices, usual in asked)
    assert found.deployment.priority == "throughput"


def test_with_nobody_to_ask_the_usual_answers_stand() -> None:
    deployment = answers("reviews", TOLD, None).deployment
    said = (deployment.application, deployment.environment, deployment.priority, deployment.load)
    assert said == ("api", "cloud", "latency", "low")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"source": "owner/name"}, "say --task: one of "),
        ({"task": "text-classification"}, "^say --source$"),
        ({**TOLD, "task": "text-clasification"}, "--task text-clasification: did you mean `text-classification`?"),
        ({**TOLD, "load": "12"}, "--load 12: it is one of low, medium, high"),
    ],
)
def test_an_answer_that_is_missing_or_unknown_is_refused_by_its_option(told: dict[str, str | None], said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("?", r"\?")):
        answers("reviews", told, None)
