"""The ways through a block of statements on which nothing is answered.

What answers is the question of whoever asks: to add to a list, or to return something. Conditions are not understood
here. Where two of them may exclude each other, as `if error: ...` and further down `if not error: ...`, or stand for
all there is, as a chain of `elif` without `else`, nothing is said of the way between them.
"""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from conch_tools.check.sources.source import Definition, Source, dotted

_RAISES = re.compile("_*(re)?(raise|fail|abort|exit)")
"""How functions are called that need not come back."""
_SUPPRESS = ("suppress", "contextlib.suppress")


class UndecidedError(Exception):
    """Nobody can tell from the syntax what is answered."""


@dataclass(frozen=True)
class Way:
    """A way without an answer. `node` is where it parts from those that have one, None as long as there is none.

    `caught` says that an exception is passed over on it; `passed`, how many statements might have answered.
    """

    node: ast.AST | None = None
    caught: bool = False
    passed: int = 0


@dataclass(frozen=True)
class Outcome:
    """The ways without an answer: one that comes to the end of a block, and those that end it all before."""

    through: Way | None
    ended: tuple[Way, ...] = ()

    @property
    def unanswered(self) -> tuple[Way, ...]:
        """Those of them that nothing speaks against."""
        through = (self.through,) if self.through is not None and self.through.passed == 1 else ()
        return (*self.ended, *through)


ANSWERED = Outcome(None)
NOTHING_DONE = Outcome(Way())


class Ways(ABC):
    """One question about blocks of statements. All methods raise UndecidedError where there is no telling.

    `callers` are the functions that led to the block, the one that it belongs to among them.
    """

    def __init__(self, source: Source, callers: tuple[Definition, ...] = ()) -> None:
        self.source = source
        self.callers = callers

    ends: tuple[type[ast.stmt], ...]
    """The statements that end the whole without an answer."""

    @abstractmethod
    def mentions(self, node: ast.AST) -> bool:
        """Whether something inside of a node answers."""

    @abstractmethod
    def simple(self, statement: ast.stmt) -> Outcome:
        """What a statement without a block of its own does."""

    def block(self, statements: Sequence[ast.stmt]) -> Outcome:
        """The ways through a block."""
        through, ended = Way(), list[Way]()
        for statement in statements:
            outcome = self._statement(statement)
            # To have passed something that might have answered, and to end under a condition, can exclude each other.
            if through.passed <= isinstance(statement, self.ends):
                ended += [Way(through.node or way.node, through.caught or way.caught) for way in outcome.ended]
            if outcome.through is None:
                return Outcome(None, tuple(ended))
            after = outcome.through
            through = Way(after.node or through.node, after.caught or through.caught, after.passed + through.passed)
        return Outcome(through, tuple(ended))

    def _statement(self, statement: ast.stmt) -> Outcome:
        match statement:
            case _ if isinstance(statement, self.ends) and not self.mentions(statement):
                return Outcome(None, (Way(statement),))
            case ast.Raise() | ast.Break() | ast.Continue():
                return ANSWERED
            case ast.Expr(value=ast.Call() as call) if self._never_returns(call):
                return ANSWERED
            case ast.If():
                return self._if(statement)
            case ast.Try():
                return self._try(statement)
            case ast.With(items=items) | ast.AsyncWith(items=items):
                return self._with(statement, items)
            case ast.For() | ast.AsyncFor() | ast.While():
                self._must_not_answer([*statement.body, *statement.orelse])
                return replace(NOTHING_DONE, ended=self.block(statement.orelse).ended)
            case ast.Match() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._must_not_answer([statement])
                return NOTHING_DONE
        return self.simple(statement)

    def _never_returns(self, call: ast.Call) -> bool:
        """Whether a function raises in any case, or says so by its name where it is not of this source."""
        callee = self.source.callee(call)
        if callee is None:
            return _RAISES.match((dotted(call.func) or "").rpartition(".")[2]) is not None
        return (
            callee not in self.callers and Failing(self.source, (*self.callers, callee)).block(callee.body) == ANSWERED
        )

    def _must_not_answer(self, statements: Sequence[ast.stmt]) -> None:
        if any(map(self.mentions, statements)):
            raise UndecidedError

    def _if(self, statement: ast.If) -> Outcome:
        if isinstance(statement.test, ast.Constant):
            return self.block(statement.body if statement.test.value else statement.orelse)
        branches, otherwise = _chain(statement)
        outcomes = [self.block(branch) for branch in branches]
        if len(branches) > 1 and not otherwise and all(each == ANSWERED for each in outcomes):
            raise UndecidedError
        outcomes.append(self.block(otherwise))
        ended = tuple(way for each in outcomes for way in each.ended)
        through = next((each.through for each in outcomes if each.through is not None), None)
        return Outcome(self._partly(statement, through), ended)

    def _try(self, statement: ast.Try) -> Outcome:
        finally_ = self.block(statement.finalbody)
        if finally_ == ANSWERED:
            return ANSWERED
        self._must_not_answer(statement.finalbody)
        normal = self.block([*statement.body, *statement.orelse])
        ended = list(normal.ended)
        through = normal.through
        for handler in statement.handlers if not self._cannot_fail(statement.body) else ():
            caught = self.block(handler.body)
            ended += [replace(way, caught=True) for way in caught.ended]
            if caught.through is not None:
                through = Way(handler, caught=True, passed=caught.through.passed)
        return Outcome(self._partly(statement, through), tuple(ended))

    def _with(self, statement: ast.With | ast.AsyncWith, items: list[ast.withitem]) -> Outcome:
        inside = self.block(statement.body)
        calls = (item.context_expr for item in items)
        if any(isinstance(call, ast.Call) and dotted(call.func) in _SUPPRESS for call in calls):
            return replace(inside, through=self._partly(statement, Way(caught=True)))
        return inside

    def _partly(self, statement: ast.stmt, through: Way | None) -> Way | None:
        """A way through a statement, which counts where another way through it has an answer."""
        if through is None or not self.mentions(statement):
            return None if through is None else Way()
        return Way(through.node or statement, through.caught, passed=1)

    def _cannot_fail(self, body: list[ast.stmt]) -> bool:
        """Whether a block answers before anything in it can fail: it appends what a name holds."""
        match body[0]:
            case ast.Expr(value=ast.Call(args=[ast.Name()])):
                return self.simple(body[0]) == ANSWERED
        return False


class Failing(Ways):
    """Whether a function never comes to an end: nothing in it counts as an answer, so that only `raise` is left."""

    ends = (ast.Return,)

    def mentions(self, node: ast.AST) -> bool:
        """Nothing does."""
        return False

    def simple(self, statement: ast.stmt) -> Outcome:
        """Whatever else is done in it."""
        return NOTHING_DONE


def _chain(statement: ast.If) -> tuple[list[list[ast.stmt]], list[ast.stmt]]:
    """The branches of `if` and `elif`, and what is done otherwise."""
    match statement.orelse:
        case [ast.If() as other]:
            branches, otherwise = _chain(other)
            return [statement.body, *branches], otherwise
    return [statement.body], statement.orelse
