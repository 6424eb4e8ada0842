"""What becomes of the requests that `execute` gets: which names hold them, which loops go over them, who else sees
them.

A request can be handed on to a function of the same source, which is followed. Whatever goes anywhere else is an
`escape`: then nobody can tell here what is read of the request and how it is answered.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from conch_tools.check.sources.source import LOOKS_ONLY, Source

INPUT_BY_NAME = "get_input_tensor_by_name"
_PARAMETERS = "parameters"

_SAME_ELEMENTS = frozenset({"list", "tuple", "reversed", "iter", "tqdm"})
"""Functions that give the elements on."""

Loop = ast.For | ast.AsyncFor | ast.comprehension
Holder = tuple[ast.AST, str]
"""A function and one of its names."""


@dataclass(frozen=True, eq=False)
class Requests:
    """The way of the requests through a source."""

    source: Source

    @cached_property
    def _held(self) -> tuple[frozenset[Holder], frozenset[Holder]]:
        """The names that hold all requests, and those that hold one."""
        execute = self.source.execute
        everything: set[Holder] = set()
        single: set[Holder] = set()
        if execute is not None and len(execute.args.args) > 1:
            everything.add((execute, execute.args.args[1].arg))
        before = -1
        while before != len(everything) + len(single):
            before = len(everything) + len(single)
            for node in self.source.served:
                self._follow(node, everything, single)
        return frozenset(everything), frozenset(single)

    def _follow(self, node: ast.AST, everything: set[Holder], single: set[Holder]) -> None:
        """Add the names that one statement or expression gives the requests to."""
        match node:
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                for target, iterable in _loops(node):
                    if self._is_in(iterable, everything) and isinstance(target, ast.Name):
                        single.add(self._holder(target))
            case ast.Assign(targets=[ast.Name() as target], value=ast.Subscript(value=value, slice=index)):
                if self._is_in(value, everything):
                    (everything if isinstance(index, ast.Slice) else single).add(self._holder(target))
            case ast.Assign(targets=[ast.Name() as target], value=value):
                if self._is_in(value, everything):
                    everything.add(self._holder(target))
                elif self._is_in(value, single):
                    single.add(self._holder(target))
            case ast.Call() if (callee := self.source.callee(node)) is not None:
                for parameter, value in self.source.given(node, callee):
                    for held in (everything, single):
                        if self._is_in(value, held):
                            held.add((callee, parameter))

    def _holder(self, name: ast.Name) -> Holder:
        return self.source.names.scope(name), name.id

    def _is_in(self, expression: ast.expr, held: set[Holder] | frozenset[Holder]) -> bool:
        match expression:
            case ast.Call(func=ast.Name(id=name), args=[inner, *_]) if name in _SAME_ELEMENTS:
                return self._is_in(inner, held)
            case ast.Name(id=name):
                scope: ast.AST = self.source.names.scope(expression)
                while True:
                    if (scope, name) in held:
                        return True
                    if isinstance(scope, ast.Module):
                        return False
                    scope = self.source.names.scope(scope)
        return False

    def is_list(self, expression: ast.expr) -> bool:
        """Whether an expression is all the requests of an execution."""
        return self._is_in(expression, self._held[0])

    def is_request(self, expression: ast.expr) -> bool:
        """Whether an expression is one of them."""
        if isinstance(expression, ast.Subscript):
            return self.is_list(expression.value)
        return self._is_in(expression, self._held[1])

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The loops and comprehensions with one round for each request."""
        found = (node for node in self.source.served if isinstance(node, Loop))
        return tuple(node for node in found if any(self._is_of_all(iterable) for _, iterable in _loops(node)))

    def _is_of_all(self, iterable: ast.expr) -> bool:
        """Whether something has one element for each request: the requests, or their places in the list."""
        match iterable:
            case ast.Call(func=ast.Name(id="range"), args=[ast.Call(func=ast.Name(id="len"), args=[counted])]):
                return self.is_list(counted)
        return self.is_list(iterable)

    @cached_property
    def first_only(self) -> ast.AST | None:
        """Where the first request is taken, if nothing else is done with the list; None if something is."""
        first: ast.AST | None = None
        for name in self._uses(self._held[0]):
            parent = self.source.parents[name]
            match parent:
                case ast.Subscript(slice=ast.Constant(value=0) | ast.Slice(lower=None, upper=ast.Constant(value=1))):
                    first = first or parent
                case ast.Assign(targets=[ast.Tuple(elts=[_]) | ast.List(elts=[_])]):
                    first = first or parent
                case _ if not self._is_said(name) and not self._is_handed_on(name):
                    return None
        return first

    def _is_said(self, name: ast.Name) -> bool:
        """Whether a list of requests only stands in something that is printed."""
        statement = next(node for node in self.source.around(name) if isinstance(node, ast.stmt))
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
                return True
        return False

    @cached_property
    def are_counted(self) -> bool:
        """Whether something may depend on how many requests there are, or the list goes where this is not seen."""
        return self.escape or any(
            not isinstance(self.source.parents[name], ast.For | ast.comprehension) and not self._is_handed_on(name)
            for name in self._uses(self._held[0])
        )

    def _is_handed_on(self, name: ast.Name) -> bool:
        """Whether a function of this source is given a list, as it is."""
        parent = self.source.parents[name]
        call = self.source.parents[parent] if isinstance(parent, ast.keyword) else parent
        return isinstance(call, ast.Call) and call.func is not name and self.source.callee(call) is not None

    @cached_property
    def reads_parameters(self) -> bool:
        """Whether the parameters of a request are looked at."""
        attributes = (node for node in self.source.served if isinstance(node, ast.Attribute))
        return any(node.attr == _PARAMETERS and self.is_request(node.value) for node in attributes)

    @cached_property
    def escape(self) -> bool:
        """Whether a request goes where this source does not show what is done with it."""
        return any(not self._is_kept(name) for name in (*self._uses(self._held[0]), *self._uses(self._held[1])))

    def _uses(self, held: frozenset[Holder]) -> Iterator[ast.Name]:
        names = (node for node in self.source.served if isinstance(node, ast.Name))
        return (name for name in names if isinstance(name.ctx, ast.Load) and self._is_in(name, held))

    def _is_kept(self, name: ast.expr) -> bool:
        parent = self.source.parents[name]
        match parent:
            case ast.For() | ast.AsyncFor() | ast.comprehension() | ast.Attribute() | ast.Compare():
                return True
            case ast.BoolOp() | ast.UnaryOp() | ast.If() | ast.While() | ast.IfExp() | ast.Assert():
                return True
            case ast.FormattedValue():
                return True
            case ast.Subscript(value=value) if value is name:
                return self._is_kept(parent)
            case ast.Assign(targets=[ast.Name()]):
                return True
            case ast.keyword():
                return self._taken_by(self.source.parents[parent], name)
            case ast.Call():
                return self._taken_by(parent, name)
        return False

    def _taken_by(self, call: ast.AST, name: ast.expr) -> bool:
        if not isinstance(call, ast.Call):
            return False
        if isinstance(call.func, ast.Name) and call.func.id in {*_SAME_ELEMENTS, "enumerate", "zip"}:
            return self._is_kept(call)
        looks = isinstance(call.func, ast.Name) and call.func.id in LOOKS_ONLY
        by_name = self.source.utility(call) == INPUT_BY_NAME
        return looks or by_name or self.source.callee(call) is not None


def _loops(loop: Loop) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The targets of a loop, each with what it goes over: `zip` and `enumerate` go over several things."""
    yield loop.target, loop.iter
    match loop.target, loop.iter:
        case ast.Tuple(elts=targets), ast.Call(func=ast.Name(id="zip"), args=iterables):
            yield from zip(targets, iterables, strict=False)
        case ast.Tuple(elts=[_, target]), ast.Call(func=ast.Name(id="enumerate"), args=[iterable, *_]):
            yield target, iterable
