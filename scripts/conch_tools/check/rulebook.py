"""How a rule is written: one function with a code, a severity and a docstring.

    RULES = Rulebook(lambda repository: repository.readable)

    @RULES.rule("CFG002", Severity.ERROR)
    def name_differs_from_folder(model: Model) -> Iterator[Problem]:
        \"\"\"The name in config.pbtxt differs from the model's folder.

        Why Triton refuses it, or what goes wrong when it does not.
        \"\"\"

A rulebook knows its rules' subject (every model, every ensemble, every ONNX graph ...) and how to find all of
them. The docstring's first line is the rule's title, the rest is the `why` of each of its findings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from conch_tools.check.findings import Finding, Problem, Severity
from conch_tools.check.repository import Repository

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """A rule with what there is to know about it. `why` is one paragraph."""

    code: str
    severity: Severity
    title: str
    why: str
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
            title, _, why = inspect.cleandoc(check.__doc__ or "").partition("\n\n")
            self.rules.append(Rule(code, severity, title, " ".join(why.split()), check))
            return check

        return enter

    def findings(self, repository: Repository) -> Iterator[Finding]:
        """What all rules have to say about all subjects of a repository."""
        for subject in self._subjects(repository):
            for rule in self.rules:
                yield from rule.findings(subject)
