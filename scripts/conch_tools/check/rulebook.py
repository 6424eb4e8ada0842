"""How a rule is written: one function with a code, a severity and a docstring.

    RULES = Rulebook(lambda repository: repository.readable)

    @RULES.rule("CFG002", Severity.ERROR)
    def name_differs_from_folder(model: Model) -> Iterator[Problem]:
        \"\"\"The name in config.pbtxt differs from the model's folder.

        Why Triton refuses it, or what goes wrong when it does not.

        Bad in `sentiment/config.pbtxt`:

            name: "sentiments"

        Good:

            name: "sentiment"
        \"\"\"

A rulebook knows its rules' subject (every model, every ensemble, every ONNX graph ...) and how to find all of
them. The docstring's first line is the rule's title, the next paragraph the `why` of each of its findings; the rest
shows what the rule is about (see `examples`, where the repository of all examples is).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from conch_tools.check.examples import Example, read_example
from conch_tools.check.findings import Finding, Problem, Severity
from conch_tools.check.repository import Repository

Subject = TypeVar("Subject")

_EXAMPLE = re.compile(r"\n+(?=Bad (?:in|with|without) )")


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """A rule with what there is to know about it. `why` is one paragraph."""

    code: str
    severity: Severity
    title: str
    why: str
    example: Example | None
    check: Callable[[Subject], Iterable[Problem]]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """What this rule has to say about one subject."""
        for problem in self.check(subject):
            yield Finding(self.code, self.severity, problem.place, problem.what, self.why, problem.cure)


class Rulebook(Generic[Subject]):
    """The rules about one kind of subject."""

    def __init__(self, subjects: Callable[[Repository], Iterable[Subject]]) -> None:
        self._subjects = subjects
        self.rules: list[Rule[Subject]] = []

    def rule(
        self, code: str, severity: Severity
    ) -> Callable[[Callable[[Subject], Iterable[Problem]]], Callable[[Subject], Iterable[Problem]]]:
        """Enter the decorated function as a rule."""

        def enter(check: Callable[[Subject], Iterable[Problem]]) -> Callable[[Subject], Iterable[Problem]]:
            told, *shown = _EXAMPLE.split(inspect.cleandoc(check.__doc__ or ""), maxsplit=1)
            title, _, why = told.partition("\n\n")
            example = read_example(shown[0]) if shown else None
            self.rules.append(Rule(code, severity, title, " ".join(why.split()), example, check))
            return check

        return enter

    def findings(self, repository: Repository) -> Iterator[Finding]:
        """What all rules have to say about all subjects of a repository."""
        for subject in self._subjects(repository):
            for rule in self.rules:
                yield from rule.findings(subject)
