"""The six questions of `conch new`: what was not said as an option is asked, and every answer is one that is known.

A seventh, for the names of its classes, comes where the source does not tell them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from conch_tools.build.networks import names_no_classes
from conch_tools.deployment import Application, Environment, Load, Priority, sized
from conch_tools.errors import SettingsError
from conch_tools.new.layouts import LAYOUTS
from conch_tools.new.run import Answers
from conch_tools.new.source import source_named
from conch_tools.new.told import CLASSIFIERS, class_names, preprocessing_in
from conch_tools.pipelines import Task

Ask = Callable[[str, Sequence[str], str | None], str]
"""A question, its choices (none: anything) and the answer of somebody who only presses Enter, to an answer."""


@dataclass(frozen=True)
class Question:
    """One of the six."""

    option: str
    text: str
    choices: Sequence[str] = ()
    """None: any text."""
    usual: str | None = None
    """What stands for no answer; None: there must be one."""


QUESTIONS = (
    Question("task", "What does the model do", tuple(LAYOUTS)),
    Question(
        "source",
        "Where is the model (a folder, a file, a hub id owner/name, models:/NAME/VERSION, package:NAME, or "
        "module:PACKAGE.MODULE:FUNCTION)",
    ),
    Question("application", "Who asks it", get_args(Application), "api"),
    Question("environment", "Where does it run", get_args(Environment), "cloud"),
    Question("priority", "What matters most", get_args(Priority), "latency"),
    Question("load", "How many requests a minute (low: below 100, medium: below 10,000)", get_args(Load), "low"),
)

LABELS = Question(
    "labels",
    "How are its classes called (names with commas between, or a file with one a line; nothing: they are numbered)",
    usual="",
)


def answers(name: str, told: Mapping[str, str | None], ask: Ask | None, trusted: bool = False) -> Answers:
    """The answers, of which some were told; the others are asked, or with no `ask` are the usual ones.

    Raises SettingsError for an answer that is not one of the choices, and for one that is missing.
    """
    found = {question.option: _answer(question, told.get(question.option), ask) for question in QUESTIONS}
    deployment = sized(
        cast(Application, found["application"]),
        cast(Environment, found["environment"]),
        cast(Priority, found["priority"]),
        cast(Load, found["load"]),
    )
    task = cast(Task, found["task"])
    return Answers(
        name,
        task,
        found["source"],
        deployment,
        trusted,
        _labels(task, found["source"], told.get(LABELS.option), ask),
        preprocessing_in(said) if (said := told.get("preprocessing")) else None,
    )


def _labels(task: Task, source: str, told: str | None, ask: Ask | None) -> list[str]:
    """Asked for only where the source does not name them."""
    unknown = task in CLASSIFIERS and names_no_classes(source_named(source))
    return class_names(_answer(LABELS, told, ask if unknown else None))


def _answer(question: Question, told: str | None, ask: Ask | None) -> str:
    if told is None and ask is not None:
        told = ask(question.text, question.choices, question.usual)
    answer = told or question.usual
    if answer is None:
        among = f": one of {', '.join(question.choices)}" if question.choices else ""
        raise SettingsError(f"say --{question.option}{among}")
    if question.choices and answer not in question.choices:
        close = difflib.get_close_matches(answer, question.choices, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"it is one of {', '.join(question.choices)}"
        raise SettingsError(f"--{question.option} {answer}: {hint}")
    return answer
