"""How a source comes to its list of responses: Triton wants one for each request, in their order.

Only shapes that can be told from the syntax are looked at: a list that is made before a loop and appended to inside.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from conch_tools.check.sources.names import Function
from conch_tools.check.sources.requests import Requests
from conch_tools.check.sources.rows import ADDS_MANY, ADDS_ONE, Loops, Rows
from conch_tools.check.sources.source import Source, argument, keyword
from conch_tools.check.sources.tensors import RESPONSE, TENSOR_MAKERS

_SENDER = "get_response_sender"
_RELEASE = "set_release_flags"
_FINAL = "TRITONSERVER_RESPONSE_COMPLETE_FINAL"
_Added = tuple[ast.Call, str]
"""A call that adds to a list, and the list's name."""
_AddedResponse = tuple[ast.AST, str]
"""The same of a response, which may be added by `+=` too."""


@dataclass(frozen=True)
class Growing:
    """A response inside a loop that holds everything that `name` was given since the loop began."""

    node: ast.AST
    name: str


@dataclass(frozen=True, eq=False)
class Responses:
    """The responses of a source."""

    source: Source
    requests: Requests

    @cached_property
    def returned(self) -> tuple[ast.Return, ...]:
        """The places where `execute` itself returns something."""
        execute = self.source.execute
        own = self.source.returns_of(execute) if execute is not None else ()
        return tuple(node for node in own if not is_none(node.value))

    @cached_property
    def given_back(self) -> tuple[ast.Return, ...]:
        """The same, and in functions of this source whose result `execute` returns for all requests."""
        found = list(self.returned)
        for node in found:
            value = self.source.names.value(node.value) if node.value is not None else None
            match value:
                case ast.Call() if (callee := self.source.callee(value)) is not None:
                    if any(self.requests.is_list(given) for _, given in self.source.given(value, callee)):
                        found += [each for each in self.source.returns_of(callee) if each not in found]
        return tuple(found)

    @cached_property
    def sends(self) -> bool:
        """Whether a response sender is used anywhere."""
        return any(node.attr == _SENDER for node in self.source.of(ast.Attribute))

    @cached_property
    def defers(self) -> bool:
        """Whether a request may have None for a response: it is answered by a sender, or comes again later."""
        return self.sends or any(node.attr == _RELEASE for node in self.source.of(ast.Attribute))

    @cached_property
    def says_final(self) -> bool:
        """Whether anything says that a response is the last one, or hands on flags that may say so."""
        named = any(node.attr == _FINAL for node in self.source.of(ast.Attribute))
        imported = any(node.id == _FINAL for node in self.source.of(ast.Name))
        flags = (argument(call, 1, "flags") for call in self._sent)
        return named or imported or any(given is not None and not _is_no_flag(given) for given in flags)

    @property
    def _sent(self) -> Iterator[ast.Call]:
        """The calls of any `send`."""
        return (call for call in self.source.of(ast.Call) if _method(call) == "send" or keyword(call, "flags"))

    @cached_property
    def answers_nothing(self) -> bool:
        """Whether `execute` ends without a response: it returns and sends none, hands requests to nobody, and does not
        fail by intent either."""
        execute = self.source.execute
        if execute is None or self.returned or self.sends or self.requests.escape:
            return False
        own = list(ast.walk(execute))
        return not any(isinstance(node, ast.Yield | ast.YieldFrom | ast.Raise) for node in own)

    @cached_property
    def returned_in_loop(self) -> ast.Return | None:
        """A `return` that ends the loop over the requests in its first round."""
        loops = (loop for loop in self.requests.loops if isinstance(loop, ast.For))
        ends = (node for loop in loops for node in loop.body if isinstance(node, ast.Return))
        return next((node for node in ends if node in self.returned), None)

    @cached_property
    def emptied_in_loop(self) -> ast.Assign | None:
        """Where the list of responses begins anew for each request, though it is returned after the loop."""
        returned = {node.value.id for node in self.returned if isinstance(node.value, ast.Name)}
        for loop in self.requests.loops:
            for node in loop.body if isinstance(loop, ast.For) else ():
                match node:
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=[])) if name in returned:
                        if any(loop in self.source.around(added) for added, other in self._added if other == name):
                            return node
        return None

    @cached_property
    def more_than_requests(self) -> ast.AST | None:
        """Where a response is added in a loop inside of the one over the requests: for each row, not each request."""
        for added, name in self._added:
            loops = self.loops_around(added)
            outer = next((loop for loop in loops if loop in self.requests.loops), None)
            inner = loops[: loops.index(outer)] if outer is not None else []
            counted = any(isinstance(loop, ast.For) and self._is_of_all(loop.iter) for loop in inner)
            guarded = bool(inner) and self._is_guarded(added, inner[-1])
            if inner and not counted and not guarded and not self.begins_in(name, outer, added):
                return added
        for made in self._written_down:
            first, *others = made.generators
            if first in self.requests.loops and others and self._is_response(made.elt):
                return made
        return None

    def _is_of_all(self, iterable: ast.expr) -> bool:
        """Whether a loop goes over as many things as there are requests, or over those that are left of them."""
        return any(isinstance(node, ast.Name) and self.requests.is_list(node) for node in ast.walk(iterable))

    @cached_property
    def one_for_each_row(self) -> ast.AST | None:
        """Where a response is added for each row, after the rows of all requests were put into one list one by one."""
        return self._added_for_each(Rows(self, joined=False))

    @cached_property
    def one_for_each_joined_row(self) -> ast.AST | None:
        """The same, after whole requests were joined: wrong only if a request can have more than one row."""
        return self._added_for_each(Rows(self, joined=True))

    def _added_for_each(self, rows: Rows) -> ast.AST | None:
        for added, _ in self._added:
            loop = next(iter(self.loops_around(added)), None)
            if isinstance(loop, ast.For) and rows.are_in(loop.iter) and not self._is_guarded(added, loop):
                return added
        for made in self._written_down:
            if len(made.generators) == 1 and not made.generators[0].ifs and rows.are_in(made.generators[0].iter):
                return made
        return None

    @property
    def _written_down(self) -> Iterator[ast.ListComp]:
        """The lists of responses that are returned as comprehensions."""
        values = (self.source.names.value(node.value) for node in self.given_back if node.value is not None)
        return (value for value in values if isinstance(value, ast.ListComp))

    @cached_property
    def growing(self) -> tuple[Growing, ...]:
        """The responses that hold what belongs to earlier ones as well."""
        return tuple(fault for loop in self.source.served_of(ast.For) for fault in self._growing_in(loop))

    def _growing_in(self, loop: ast.For) -> Iterator[Growing]:
        if not any(loop in self.source.around(added) for added, _ in self._added):
            return
        inside = list(ast.walk(loop))
        for name in sorted(self._filled_before(loop)):
            taint = {name}
            for node in inside:
                match node:
                    case ast.Assign(targets=[ast.Name(id=target)], value=value) if self._holds(value, taint):
                        taint.add(target)
            tensors = (node for node in inside if self.source.utility(node) in TENSOR_MAKERS)
            for tensor in tensors:
                values = tensor.args[1:] if isinstance(tensor, ast.Call) else []
                innermost = next((node for node in self.source.around(tensor) if isinstance(node, Loops)), None)
                if innermost is loop and any(self._holds(value, taint) for value in values):
                    yield Growing(tensor, name)

    def _filled_before(self, loop: ast.For) -> set[str]:
        """The lists that are made before a loop, added to inside, and never begun anew there."""
        added = {name for call, name in self.additions if loop in self.source.around(call)}
        empty: set[str] = set()
        emptied: set[str] = set()
        for node in ast.walk(self.source.function_of(loop) or self.source.tree):
            match node:
                case ast.AugAssign(target=ast.Name(id=name), op=ast.Add()) if loop in self.source.around(node):
                    added.add(name)
                case ast.Assign() if loop in self.source.around(node):
                    emptied |= _targets(node)
                case ast.Assign(value=value) if is_empty(value):
                    empty |= _targets(node)
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="clear" | "pop" | "popleft")):
                    emptied.add(name)
                case ast.Delete(targets=[ast.Subscript(value=ast.Name(id=name))]):
                    emptied.add(name)
        return added & empty - emptied

    def _holds(self, value: ast.expr, names: set[str]) -> bool:
        """Whether a value holds all that one of these lists holds: not one element of it, or its length."""
        for node in ast.walk(value):
            if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
                match self.source.parents[node]:
                    case ast.Call(func=ast.Name(id="len")) | ast.Attribute() | ast.Subscript():
                        continue
                return True
        return False

    @cached_property
    def additions(self) -> tuple[_Added, ...]:
        """Every call that adds to a list."""
        found = []
        for node in self.source.served_of(ast.Call):
            match node.func:
                case ast.Attribute(value=ast.Name(id=name), attr=method) if method in (ADDS_ONE, ADDS_MANY):
                    found.append((node, name))
        return tuple(found)

    @cached_property
    def _added(self) -> tuple[_AddedResponse, ...]:
        """Those that add a response, alone or as a list of one."""
        called: list[_AddedResponse] = [
            (call, name) for call, name in self.additions if call.args and self._is_response(_single(call.args[0]))
        ]
        for node in self.source.served_of(ast.AugAssign):
            match node:
                case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=ast.List() as value):
                    if self._is_response(_single(value)):
                        called.append((node, name))
        return tuple(called)

    def _is_response(self, expression: ast.expr) -> bool:
        if self.source.utility(expression) == RESPONSE:
            return True
        bindings = self.source.names.bindings(expression) if isinstance(expression, ast.Name) else []
        return any(bound.value is not None and self.source.utility(bound.value) == RESPONSE for bound in bindings)

    def is_added_for_each_request(self, added: ast.AST) -> bool:
        """Whether something is added to a list in the loop over the requests."""
        return any(loop in self.requests.loops for loop in self.loops_around(added))

    def loops_around(self, node: ast.AST) -> list[ast.AST]:
        """The loops around a node inside of its function, from the inside to the outside."""
        found: list[ast.AST] = []
        for around in self.source.around(node):
            if isinstance(around, Function):
                break
            if isinstance(around, Loops):
                found.append(around)
        return found

    def _is_guarded(self, node: ast.AST, loop: ast.AST) -> bool:
        """Whether a node inside of a loop need not run in each round of it, or the loop may end early."""
        for around in self.source.around(node):
            if around is loop:
                break
            if isinstance(around, ast.If | ast.ExceptHandler | ast.While):
                return True
        return any(isinstance(inside, ast.Break) for inside in ast.walk(loop))

    def begins_in(self, name: str, loop: ast.AST | None, added: ast.AST) -> bool:
        """Whether a list is made inside of a loop, or nobody knows where: then it is not that of all requests."""
        function = self.source.function_of(added) or self.source.tree
        assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
        begun = [node for node in assigned if name in _targets(node)]
        return not begun or any(around is loop for node in begun for around in self.source.around(node))


def _targets(node: ast.Assign) -> set[str]:
    """The names that an assignment gives a value to."""
    inside = (each for target in node.targets for each in ast.walk(target))
    return {each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def is_none(value: ast.expr | None) -> bool:
    """Whether what is returned is nothing."""
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _is_no_flag(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and not value.value


def _single(value: ast.expr) -> ast.expr:
    """The one element of a list that is written down, or what it is otherwise."""
    return value.elts[0] if isinstance(value, ast.List) and len(value.elts) == 1 else value


def _method(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def is_empty(value: ast.expr) -> bool:
    """Whether an expression makes something that is filled later."""
    match value:
        case ast.List(elts=[]) | ast.Call(func=ast.Name(id="list"), args=[]) | ast.Constant(value="" | b""):
            return True
        case ast.Tuple(elts=elements):
            return all(map(is_empty, elements))
    return False
