"""Which names of a source hold the rows of all requests, in one list that says no more which request a row is of."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conch_tools.check.sources.responses import Responses

ADDS_ONE, ADDS_MANY = "append", "extend"
_CUTS_UP = ("split", "array_split", "groupby", "islice")
"""Functions that make groups of rows: then a loop over them need not be one over rows."""

_STACK = "stack"
"""The join whose result has one row for each element of the list."""
JOINS = ("concatenate", "vstack", _STACK, "cat")
"""Functions that make one array of a list of them."""

Loops = ast.For | ast.AsyncFor | ast.While


class Rows:
    """The names that hold the rows of all requests in one list, which says no more which request a row is of.

    `joined` says whether to count lists and arrays to which whole requests were added.
    """

    def __init__(self, responses: Responses, *, joined: bool) -> None:
        self._source = responses.source
        self._requests = responses.requests
        self._joined = joined
        self._names: set[tuple[ast.AST, str]] = set()
        self._by_request: set[str] = set()
        for call, name in responses.additions:
            self._begin(responses, call, name)
        self._by_request -= {name for _, name in self._names}
        before = -1
        while before != len(self._names):
            before = len(self._names)
            for node in self._source.served:
                self._follow(node)

    def _begin(self, responses: Responses, call: ast.Call, name: str) -> None:
        loops = [node for node in self._source.around(call) if isinstance(node, Loops)]
        outer = next((loop for loop in loops if loop in self._requests.loops), None)
        if outer is None or responses.begins_in(name, outer, call):
            return
        extends = isinstance(call.func, ast.Attribute) and call.func.attr == ADDS_MANY
        if (extends and self._joined) or (not extends and loops[0] is not outer):
            self._names.add((self._source.names.scope(call), name))
        else:
            self._by_request.add(name)

    def _follow(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if self.are_in(value):
                self._names.add((self._source.names.scope(node), name))
            case ast.Call() if (callee := self._source.callee(node)) is not None:
                given = self._source.given(node, callee)
                self._names |= {(callee, parameter) for parameter, value in given if self.are_in(value)}

    def are_in(self, expression: ast.expr) -> bool:
        """Whether an expression is made of these rows alone, and of nothing that tells which request they are of."""
        joins = [node for node in ast.walk(expression) if self._is_joined(node)] if self._joined else []
        inside = {node for join in joins for node in ast.walk(join)}
        loops = (node for node in ast.walk(expression) if isinstance(node, ast.comprehension))
        own = {node.id for loop in loops for node in ast.walk(loop.target) if isinstance(node, ast.Name)}
        found = bool(joins)
        for node in ast.walk(expression):
            match node:
                case ast.Name(id=name) if node not in inside and name not in own:
                    if (self._source.names.scope(node), name) in self._names:
                        found = True
                    elif name != "self" and self._source.names.is_local(node):
                        return False
                case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self._kept:
                    return False
                case ast.Call(func=ast.Attribute(attr=function)) if function in _CUTS_UP:
                    return False
                case ast.Call() if (callee := self._source.callee(node)) is not None and self._kept & _attributes(
                    callee
                ):
                    return False
        return found

    @cached_property
    def _kept(self) -> frozenset[str]:
        """What of `self` changes with requests: it may tell which request a row is of."""
        found = set[str]()
        for node in self._source.served:
            match node:
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    found.add(name)
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr=name), attr=method)
                ):
                    if method in (ADDS_ONE, ADDS_MANY):
                        found.add(name)
        return frozenset(found)

    def _is_joined(self, node: ast.AST) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(attr=function), args=[joined, *_]) if function in JOINS:
                by_request = isinstance(joined, ast.Name) and joined.id in self._by_request
                return function != _STACK and (by_request or self._is_whole(joined))
        return False

    def _is_whole(self, joined: ast.expr) -> bool:
        """Whether a list is made of an input of each request, as it is."""
        match joined:
            case ast.ListComp(elt=ast.Call(func=ast.Attribute(attr="as_numpy")), generators=[loop]):
                return loop in self._requests.loops
        return False


def _attributes(function: ast.AST) -> frozenset[str]:
    """The names of all attributes that a function reads or writes."""
    return frozenset(node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute))
