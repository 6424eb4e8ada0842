"""What counts as an answer: to add to the list of responses, or to return something.

A list is followed only while all that is done with it can be read, into functions of the same source too.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from conch_tools.check.sources.responses import is_none
from conch_tools.check.sources.rows import ADDS_MANY, ADDS_ONE
from conch_tools.check.sources.source import LOOKS_ONLY, Definition, Source
from conch_tools.check.sources.ways import ANSWERED, NOTHING_DONE, Outcome, UndecidedError, Way, Ways


class Additions(Ways):
    """What a function adds to the list that one of its names holds.

    `prefilled` says that the list is as long as it should be, and its elements are replaced. `ends` are the statements
    that end what is looked at, a round of a loop or the function; `callers` are the functions that have handed the list
    on.
    """

    def __init__(
        self,
        source: Source,
        function: Definition,
        name: str,
        *,
        prefilled: bool,
        ends: type[ast.Continue | ast.Return],
        callers: tuple[Definition, ...] = (),
    ) -> None:
        if function in callers:
            raise UndecidedError
        super().__init__(source, (*callers, function))
        self.ends = (ends,)
        self._prefilled = prefilled
        self.handed: dict[ast.AST, tuple[Definition, str]] = {}
        """The calls that hand the list on: to which function, and how it is called there."""
        self.added: dict[ast.AST, ast.expr] = {}
        """The statements and calls that add one element, with that element."""
        for node in ast.walk(function):
            match node:
                case ast.Name(id=found) if found == name and isinstance(node.ctx, ast.Load):
                    self._use(node)
                case ast.AugAssign(target=ast.Name(id=found), op=ast.Add(), value=value) if found == name:
                    self._add(node, value)

    def _use(self, name: ast.Name) -> None:
        parent = self.source.parents[name]
        match parent:
            case ast.Attribute(attr=method) if method in (ADDS_ONE, ADDS_MANY):
                call = self.source.parents[parent]
                if not isinstance(call, ast.Call) or len(call.args) != 1:
                    raise UndecidedError
                self._add(call, call.args[0] if method == ADDS_MANY else ast.List([call.args[0]]))
            case ast.Subscript(ctx=ast.Store()):
                self._replace(self.source.parents[parent])
            case ast.Return() | ast.For() | ast.Compare() | ast.FormattedValue() | ast.Subscript(ctx=ast.Load()):
                pass
            case ast.Call(func=ast.Name(id=function)) if function in LOOKS_ONLY:
                pass
            case ast.Call() | ast.keyword():
                call = parent if isinstance(parent, ast.Call) else self.source.parents[parent]
                self._hand_on(call, name)
            case _:
                raise UndecidedError

    def _add(self, node: ast.AST, elements: ast.expr) -> None:
        match elements:
            case ast.List(elts=[element]) | ast.Tuple(elts=[element]) if not isinstance(element, ast.Starred):
                if self._prefilled:
                    raise UndecidedError
                self.added[node] = element
            case _:
                raise UndecidedError

    def _replace(self, statement: ast.AST) -> None:
        if not isinstance(statement, ast.Assign) or not self._prefilled:
            raise UndecidedError
        self.added[statement] = statement.value

    def _hand_on(self, call: ast.AST, name: ast.Name) -> None:
        callee = self.source.callee(call) if isinstance(call, ast.Call) else None
        if not isinstance(call, ast.Call) or callee is None:
            raise UndecidedError
        parameters = [parameter for parameter, value in self.source.given(call, callee) if value is name]
        if len(parameters) != 1:
            raise UndecidedError
        self.handed[call] = callee, parameters[0]

    def handed_to(self, callee: Definition, parameter: str, ends: type[ast.Continue | ast.Return]) -> Additions:
        """What a function adds that is given the list."""
        filled = self._prefilled
        return Additions(self.source, callee, parameter, prefilled=filled, ends=ends, callers=self.callers)

    def mentions(self, node: ast.AST) -> bool:
        """Whether something is added inside of a node."""
        return any(inside in self.added or inside in self.handed for inside in ast.walk(node))

    def simple(self, statement: ast.stmt) -> Outcome:
        """What one statement adds."""
        if not self.mentions(statement):
            return ANSWERED if isinstance(statement, ast.Return) else NOTHING_DONE
        value = getattr(statement, "value", None)
        done = value.value if isinstance(value, ast.Await) else value
        if statement in self.added or done in self.added:
            return ANSWERED
        if done not in self.handed:
            raise UndecidedError
        way = self._without(*self.handed[done])
        return Outcome(None, (way,)) if way is not None and isinstance(statement, ast.Return) else Outcome(way)

    def _without(self, callee: Definition, parameter: str) -> Way | None:
        """A way through a function that is given the list, on which it adds nothing."""
        inside = self.handed_to(callee, parameter, ast.Return)
        outcome = inside.block(callee.body)
        if not inside.added and not inside.handed:
            return Way()
        if outcome.unanswered:
            return replace(outcome.unanswered[0], passed=1)
        if outcome.through is not None:
            raise UndecidedError
        return None


class Results(Ways):
    """Whether a function comes to an end with a result."""

    ends = (ast.Return,)

    def mentions(self, node: ast.AST) -> bool:
        """Whether a result is returned inside of a node."""
        return any(isinstance(inside, ast.Return) and not is_none(inside.value) for inside in ast.walk(node))

    def simple(self, statement: ast.stmt) -> Outcome:
        """What one statement returns."""
        return ANSWERED if self.mentions(statement) else NOTHING_DONE
