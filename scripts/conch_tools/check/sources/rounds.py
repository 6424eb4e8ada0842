"""Whether each round of the loop over the requests adds a response to the list that `execute` returns.

A list is looked at only where it is made empty, or of as many None as there are requests, and filled in one loop.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from conch_tools.check.sources.answers import Additions, Results
from conch_tools.check.sources.requests import Requests
from conch_tools.check.sources.responses import Responses, is_empty, is_none
from conch_tools.check.sources.source import Definition, Source, dotted
from conch_tools.check.sources.ways import UndecidedError, Way, Ways


@dataclass(frozen=True)
class LeftRequest:
    """Where a request is left without a response.

    `caught` says that an exception is passed over there; `function` is what ends without a result, where one does.
    """

    node: ast.AST
    caught: bool = False
    function: str = ""


@dataclass(frozen=True, eq=False)
class Rounds:
    """The rounds of the loops over the requests."""

    source: Source
    requests: Requests
    responses: Responses

    @cached_property
    def unanswered(self) -> tuple[LeftRequest, ...]:
        """Where a request is left without a response, though others get theirs."""
        return (*self._passed_over(), *self._without_result(), *self._left_out())

    def _passed_over(self) -> Iterator[LeftRequest]:
        for loop, additions in self._filled.items():
            for way in _ways(additions, loop.body):
                yield LeftRequest(way.node or loop, way.caught)

    def _without_result(self) -> Iterator[LeftRequest]:
        for function in dict.fromkeys(self._makers()):
            returns = any(not is_none(node.value) for node in self.source.returns_of(function))
            plain = not any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
            if not returns or not plain or function.decorator_list:
                continue
            for way in _ways(Results(self.source, (function,)), function.body):
                yield LeftRequest(way.node or function, way.caught, function.name)

    def _left_out(self) -> Iterator[LeftRequest]:
        for value in self._returned:
            match value:
                case ast.ListComp(generators=[ast.comprehension(ifs=[condition, *_]) as loop]):
                    if loop in self.requests.loops:
                        yield LeftRequest(condition)

    def _makers(self) -> Iterator[Definition]:
        """The functions whose results are the responses as they are."""
        elements: list[ast.expr] = []
        for value in self._returned:
            match value:
                case ast.ListComp(elt=element, generators=[loop]) if loop in self.requests.loops:
                    elements.append(element)
        for additions in self._filled.values():
            elements += additions.added.values()
        for element in elements:
            call = element.value if isinstance(element, ast.Await) else element
            callee = self.source.callee(call) if isinstance(call, ast.Call) else None
            if callee is not None:
                yield callee

    @cached_property
    def cut_short(self) -> ast.stmt | None:
        """A `return` or `break` further inside that ends the loop over the requests before all are answered."""
        for loop in (loop for loop in self.requests.loops if isinstance(loop, ast.For)):
            for node in (each for statement in loop.body for each in ast.walk(statement)):
                if isinstance(node, ast.Return | ast.Break) and self._leaves_others(node, loop):
                    return node
        return None

    def _leaves_others(self, node: ast.Return | ast.Break, loop: ast.For) -> bool:
        around = self.responses.loops_around(node)
        if loop not in around or node is self.responses.returned_in_loop or self._counts(node, loop):
            return False
        if isinstance(node, ast.Break):
            return around[0] is loop and loop in self._filled
        if node not in self.responses.given_back:
            return False
        if isinstance(node.value, ast.List):
            return _is_of_fixed_length(node.value)
        added = self._filled[loop].added if isinstance(node.value, ast.Name) and loop in self._filled else {}
        return bool(added) and all(self.responses.loops_around(each)[0] is loop for each in added)

    def _counts(self, node: ast.AST, loop: ast.For) -> bool:
        """Whether a condition of a node may tell that this request is the last one."""
        counters = {dotted(each.target) for each in ast.walk(loop) if isinstance(each, ast.AugAssign)}
        match loop:
            case ast.For(target=ast.Tuple(elts=[counter, _]), iter=ast.Call(func=ast.Name(id="enumerate"))):
                counters.add(dotted(counter))
            case ast.For(target=counter, iter=ast.Call(func=ast.Name(id="range"))):
                counters.add(dotted(counter))
        inside = takewhile(lambda around: around is not loop, self.source.around(node))
        conditions = [around.test for around in inside if isinstance(around, ast.If)]
        named = [each for test in conditions for each in ast.walk(test) if isinstance(each, ast.Name | ast.Attribute)]
        return any(dotted(each) in counters or self._depends_on_all(each) for each in named)

    def _depends_on_all(self, expression: ast.expr) -> bool:
        """Whether what a name stands for is made of all requests, or is a list of responses."""
        value = self.source.names.value(expression)
        return is_empty(value) or any(
            isinstance(each, ast.Name) and self.requests.is_list(each) for each in ast.walk(value)
        )

    @cached_property
    def one_for_all(self) -> ast.Return | None:
        """A list that is as long however many requests there are, while the source goes over them all."""
        returned = self.responses.given_back
        fixed = all(_is_of_fixed_length(node.value) for node in returned)
        inside = any(loop in self.source.around(node) for node in returned for loop in self.requests.loops)
        if not returned or not fixed or inside or not self.requests.loops or self.requests.are_counted:
            return None
        return returned[-1]

    @property
    def _returned(self) -> Iterator[ast.expr]:
        """What is returned for all requests, whatever its name."""
        values = (node.value for node in self.responses.given_back)
        return (self.source.names.value(value) for value in values if value is not None)

    @cached_property
    def _filled(self) -> Mapping[ast.For, Additions]:
        """The loops over the requests that fill a list which is returned, with what they add to it."""
        found: dict[ast.For, Additions] = {}
        for node in self.responses.given_back:
            function = self.source.function_of(node)
            if isinstance(node.value, ast.Name) and isinstance(function, Definition):
                try:
                    loop, additions = self._fill(function, node.value)
                except UndecidedError:
                    continue
                found[loop] = additions
        return found

    def _fill(self, function: Definition, name: ast.Name) -> tuple[ast.For, Additions]:
        """The loop that fills the list of this name, in this function or in one that it hands the list to."""
        begun = self._begun(function, name)
        additions = Additions(self.source, function, name.id, prefilled=not is_empty(begun), ends=ast.Continue)
        while not additions.added and len(additions.handed) == 1:
            ((call, (callee, parameter)),) = additions.handed.items()
            if self.responses.loops_around(call):
                break
            additions = additions.handed_to(callee, parameter, ast.Continue)
        loops = {self._outermost_loop(node) for node in (*additions.added, *additions.handed)}
        loop = loops.pop() if len(loops) == 1 else None
        if not isinstance(loop, ast.For) or loop not in self.requests.loops or loop in self.source.around(begun):
            raise UndecidedError
        return loop, additions

    def _outermost_loop(self, node: ast.AST) -> ast.AST | None:
        return next(reversed(self.responses.loops_around(node)), None)

    def _begun(self, function: Definition, name: ast.Name) -> ast.expr:
        """What a name is at first, where that is one list and it is never another."""
        stored = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name.id]
        assigned = [node for node in stored if isinstance(node.ctx, ast.Store)]
        again = [node for node in assigned if not isinstance(self.source.parents[node], ast.AugAssign)]
        values = [bound.value for bound in self.source.names.bindings(name) if bound.value is not None]
        if len(again) != 1 or len(values) != 1 or not (is_empty(values[0]) or _is_prefilled(values[0])):
            raise UndecidedError
        return values[0]


def _ways(question: Ways, block: list[ast.stmt]) -> Iterable[Way]:
    """The ways through a block without an answer, none where that is not to be told."""
    try:
        return question.block(block).unanswered
    except UndecidedError:
        return ()


def _is_of_fixed_length(value: ast.expr | None) -> bool:
    return isinstance(value, ast.List) and not any(isinstance(element, ast.Starred) for element in value.elts)


def _is_prefilled(value: ast.expr) -> bool:
    """Whether a list is made of None alone."""
    match value:
        case ast.BinOp(left=ast.List(elts=[element]), op=ast.Mult()) | ast.ListComp(elt=element):
            return is_none(element)
    return False
