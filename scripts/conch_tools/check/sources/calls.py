"""What a source asks of other models (business logic scripting), and whether it looks at their errors.

A response of another model is an object in any case; only `has_error()` tells whether it holds tensors.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from conch_tools.check.sources.names import Bound, Function
from conch_tools.check.sources.source import Definition, Source, dotted, keyword
from conch_tools.check.sources.tensors import BLS_REQUEST, OUTPUT_BY_NAME, TENSOR_MAKERS

_SENDS = ("exec", "async_exec")
_HAS_ERROR = "has_error"
_ERROR = "error"
_UNNAMED = "response"
"""What a response is called that has no name."""
_GIVES_TENSORS = "output_tensors"
_DEEPEST = 20


@dataclass(frozen=True)
class Call:
    """A request to another model. What is None is not known before the source runs."""

    node: ast.Call
    model: str | None
    sent: frozenset[str] | None
    asked_for: frozenset[str] | None


@dataclass(frozen=True)
class Unchecked:
    """A response whose tensors are read though it may be an error.

    `instead` is where the error of `instead_of`, another response, is asked for in its place; None where none is.
    """

    node: ast.AST
    name: str
    instead: ast.Attribute | None = None
    instead_of: str = ""


@dataclass(frozen=True, eq=False)
class Calls:
    """The requests of a source to other models."""

    source: Source

    @cached_property
    def made(self) -> tuple[Call, ...]:
        """All that are sent."""
        return tuple(
            Call(node, self._model(node), self._tensors(node), self._texts(keyword(node, "requested_output_names")))
            for node in self.source.calls_of(BLS_REQUEST)
            if self._is_sent(node)
        )

    def _is_sent(self, request: ast.Call) -> bool:
        match self.source.parents[request]:
            case ast.Attribute(attr=method):
                return method in _SENDS
            case ast.Assign(targets=[ast.Name(id=name)]):
                scope = self.source.function_of(request)
                uses = (node for node in self.source.of(ast.Attribute) if self.source.function_of(node) is scope)
                return any(dotted(node.value) == name and node.attr in _SENDS for node in uses)
            case ast.Assign(targets=[ast.Attribute() as kept]):
                everywhere = self.source.of(ast.Attribute)
                return any(dotted(node.value) == dotted(kept) and node.attr in _SENDS for node in everywhere)
        return False

    def _model(self, request: ast.Call) -> str | None:
        name = keyword(request, "model_name")
        texts = self.source.names.texts(name) if name is not None else None
        return next(iter(texts)) if texts is not None and len(texts) == 1 else None

    def _tensors(self, request: ast.Call) -> frozenset[str] | None:
        tensors = keyword(request, "inputs")
        elements = self.source.elements(tensors) if tensors is not None else None
        if elements is None:
            return None
        found: set[str] = set()
        for element in elements:
            made = self.source.names.value(element)
            if not isinstance(made, ast.Call) or self.source.utility(made) not in TENSOR_MAKERS or not made.args:
                return None
            names = self.source.names.texts(made.args[0])
            if names is None:
                return None
            found |= names
        return frozenset(found)

    def _texts(self, names: ast.expr | None) -> frozenset[str] | None:
        elements = self.source.elements(names) if names is not None else None
        if elements is None:
            return None
        found = [self.source.names.texts(element) for element in elements]
        return frozenset[str]().union(*(texts or () for texts in found)) if None not in found else None

    @cached_property
    def unchecked(self) -> tuple[Unchecked, ...]:
        """The responses that nobody asks for their error before their tensors are read."""
        kept = tuple(fault for function in self._responses for fault in self._unchecked_in(function))
        return (*kept, *self._unchecked_of_self(), *(Unchecked(node, _UNNAMED) for node in self._read_at_once()))

    def _read_at_once(self) -> Iterator[ast.expr]:
        """Where the tensors of a response are read that has no name."""
        for call in self.source.calls_of(OUTPUT_BY_NAME):
            if call.args and self._is_response(call.args[0]):
                yield call
        for node in self.source.of(ast.Attribute):
            if node.attr == _GIVES_TENSORS and self._is_response(node.value):
                yield node

    def _unchecked_of_self(self) -> Iterator[Unchecked]:
        """Responses that are kept under an attribute, which is bound once."""
        for node in self.source.of(ast.Assign):
            match node:
                case ast.Assign(targets=[ast.Attribute(attr=attribute) as kept]) if self._is_response(node.value):
                    uses = [use for use in self.source.of(ast.Attribute) if use.attr == attribute and use is not kept]
                    same = all(self.source.names.value(use) is node.value for use in uses)
                    if same and self._gives_tensors_only(uses):
                        yield Unchecked(node, dotted(kept) or attribute)

    @cached_property
    def _responses(self) -> Mapping[Function, list[tuple[ast.Assign, str]]]:
        """Every assignment of a response to a name, by function, in the order of lines."""
        found: dict[Function, list[tuple[ast.Assign, str]]] = {}
        for node in self.source.of(ast.Assign):
            function = self.source.function_of(node)
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if function and self._is_response(value):
                    found.setdefault(function, []).append((node, name))
        return {function: sorted(pairs, key=lambda pair: pair[0].lineno) for function, pairs in found.items()}

    def _is_response(self, value: ast.expr) -> bool:
        call = _awaited(value)
        by_helper = isinstance(call, ast.Call) and self.source.callee(call) in self._askers
        return by_helper or self._is_sent_here(call)

    def _is_sent_here(self, call: ast.expr) -> bool:
        match call:
            case ast.Call(func=ast.Attribute(value=request, attr=method)) if method in _SENDS:
                streamed = isinstance(keyword(call, "decoupled"), ast.expr)
                return self._is_request(request) and not streamed
        return False

    @cached_property
    def _askers(self) -> frozenset[Definition]:
        """The functions that return responses of other models as these came, without a look at them."""
        found: set[Definition] = set()
        before = -1
        while before != len(found):
            before = len(found)
            found |= {each for each in self.source.functions.values() if self._hands_back(each, found)}
        return frozenset(found)

    def _hands_back(self, function: Definition, askers: set[Definition]) -> bool:
        returned = [node.value for node in self.source.returns_of(function) if node.value is not None]
        return bool(returned) and not function.decorator_list and all(self._is_raw(each, askers) for each in returned)

    def _is_raw(self, value: ast.expr, askers: set[Definition]) -> bool:
        """Whether a result is a response; one that has a name may be used for nothing else."""
        if isinstance(value, ast.Name):
            name, value = value, self.source.names.value(value)
            uses = [each for each in self.source.of(ast.Name) if each.id == name.id and isinstance(each.ctx, ast.Load)]
            own = [use for use in uses if self.source.function_of(use) is self.source.function_of(name)]
            if not all(isinstance(self.source.parents[use], ast.Return) for use in own):
                return False
        call = _awaited(value)
        return self._is_sent_here(call) or (isinstance(call, ast.Call) and self.source.callee(call) in askers)

    def _is_request(self, expression: ast.expr, depth: int = 0) -> bool:
        if isinstance(expression, ast.Name) and depth < _DEEPEST:
            given = self.source.arguments(expression)
            if given:
                return all(self._is_request(each, depth + 1) for each in given)
            bindings = self.source.names.bindings(expression)
        else:
            bindings = [Bound(self.source.names.value(expression))]
        values = [bound.value for bound in bindings if bound.value is not None and not bound.each]
        return any(self.source.utility(value) == BLS_REQUEST for value in values)

    def _unchecked_in(self, function: Function) -> Iterator[Unchecked]:
        responses = self._responses[function]
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        for index, (node, name) in enumerate(responses):
            again = next((later.lineno for later, other in responses[index + 1 :] if other == name), sys.maxsize)
            uses = [use for use in names if use.id == name and node.lineno < use.lineno < again]
            if self._gives_tensors_only(uses):
                following = [later.lineno for later, _ in responses[index + 1 :]]
                until = min([*following, sys.maxsize])
                others = {other for _, other in responses[:index]} - {name}
                asked = [use for use in names if use.id in others and node.lineno < use.lineno < until]
                checks = [use for use in asked if self._attribute(use) == _HAS_ERROR]
                yield self._unchecked(node, name, checks)

    def _unchecked(self, node: ast.Assign, name: str, checks: list[ast.Name]) -> Unchecked:
        for check in sorted(checks, key=lambda use: use.lineno):
            attribute = self.source.parents[check]
            if isinstance(attribute, ast.Attribute):
                return Unchecked(node, name, attribute, check.id)
        return Unchecked(node, name)

    def _gives_tensors_only(self, uses: Sequence[ast.expr], depth: int = 0) -> bool:
        """Whether tensors of a response are read, nobody asks whether it is an error, and nobody else gets it."""
        read = False
        for use in uses:
            attribute = self._attribute(use)
            handed_on = self._uses_where_given(use) if depth < _DEEPEST else ()
            if attribute == _GIVES_TENSORS or self.source.utility(self.source.parents[use]) == OUTPUT_BY_NAME:
                read = True
            elif handed_on:
                if not self._gives_tensors_only(handed_on, depth + 1):
                    return False
                read = True
            elif attribute != _ERROR or self._is_asked(use):
                return False
        return read

    def _uses_where_given(self, use: ast.expr) -> tuple[ast.Name, ...]:
        """What a function of this source does with a response that it is given, as the places where it uses it."""
        parent = self.source.parents[use]
        call = self.source.parents[parent] if isinstance(parent, ast.keyword) else parent
        callee = self.source.callee(call) if isinstance(call, ast.Call) else None
        if not isinstance(call, ast.Call) or callee is None:
            return ()
        parameters = {parameter for parameter, value in self.source.given(call, callee) if value is use}
        names = (node for node in ast.walk(callee) if isinstance(node, ast.Name))
        return tuple(node for node in names if node.id in parameters)

    def _attribute(self, use: ast.expr) -> str | None:
        parent = self.source.parents[use]
        return parent.attr if isinstance(parent, ast.Attribute) else None

    def _is_asked(self, use: ast.expr) -> bool:
        """Whether a condition depends on the response, or its error is kept under a name: then it is not only put into
        words."""
        call = self.source.parents[self.source.parents[use]]
        if isinstance(call, ast.Call) and isinstance(self.source.parents[call], ast.Assign | ast.NamedExpr):
            return True
        tests = (node.test for node in self.source.around(use) if isinstance(node, ast.If | ast.IfExp))
        inside = (node for test in tests for node in ast.walk(test) if isinstance(node, ast.expr))
        return any(dotted(node) == dotted(use) for node in inside)


def _awaited(value: ast.expr) -> ast.expr:
    return value.value if isinstance(value, ast.Await) else value
