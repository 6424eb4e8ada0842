"""What a source does with the batch of an input: takes its first row alone, or squeezes the batch away."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from conch_tools.check.sources.responses import Responses
from conch_tools.check.sources.rows import JOINS
from conch_tools.check.sources.source import Source, argument, dotted, keyword
from conch_tools.check.sources.tensors import Tensors, Use

_SAME_ROWS = frozenset({"as_numpy", "astype", "tolist", "copy", "to_dlpack", "numpy", "cpu", "flatten", "ravel"})
"""Methods whose result begins with the rows of what they are called on."""
_SAME_ROWS_OF = frozenset({"array", "asarray", "from_dlpack", "from_numpy", "list", "as_tensor"})
"""Functions whose result has the rows of their first argument."""
_SQUEEZE = "squeeze"
_LOOKS_AT_SHAPE = frozenset({"ndim", "shape", "reshape", "dim", "size"})
_DEEPEST = 20


@dataclass(frozen=True)
class Squeeze:
    """A squeeze of a whole input. `axis` is None where all dimensions of size 1 go."""

    node: ast.Call
    use: Use
    axis: int | None


@dataclass(frozen=True, eq=False)
class Arrays:
    """The content of the inputs of a source."""

    source: Source
    tensors: Tensors
    responses: Responses

    @cached_property
    def _by_call(self) -> dict[ast.AST, Use]:
        return {use.node: use for use in self.tensors.reads}

    def origin(self, expression: ast.AST, depth: int = 0) -> Use | None:
        """The read of the input whose rows an expression has, all of them; None for everything else."""
        if depth > _DEEPEST:
            return None
        match expression:
            case ast.Call() if expression in self._by_call:
                return self._by_call[expression]
            case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in _SAME_ROWS:
                return self.origin(inner, depth + 1)
            case ast.Call(func=ast.Attribute(attr=function) | ast.Name(id=function), args=[inner, *_]) if (
                function in _SAME_ROWS_OF
            ):
                return self.origin(inner, depth + 1)
            case ast.ListComp(generators=[ast.comprehension(iter=inner, ifs=[])]):
                return self.origin(inner, depth + 1)
            case ast.Call() if (callee := self.source.callee(expression)) is not None:
                returned = self.source.returns_of(callee)
                alone = returned[0].value if len(returned) == 1 else None
                return self.origin(alone, depth + 1) if alone is not None else None
            case ast.Name():
                value = self.source.names.value(expression)
                if value is expression:
                    given = self.source.arguments(expression)
                    return self.origin(given[0], depth + 1) if len(given) == 1 else None
                return self.origin(value, depth + 1)
        return None

    @cached_property
    def first_rows(self) -> tuple[tuple[ast.Subscript, Use], ...]:
        """Where the first row is taken of an input whose other rows are not used; none if any input is used whole."""
        taken: list[tuple[ast.Subscript, Use]] = []
        for node in self.source.served:
            use = self.origin(node) if isinstance(node, ast.expr) else None
            if use is not None and not self._hands_on(node, use):
                parent = self.source.parents[node]
                if not (isinstance(parent, ast.Subscript) and parent.value is node and _is_first(parent.slice)):
                    return ()
                taken.append((parent, use))
        return tuple(taken)

    def _hands_on(self, node: ast.AST, use: Use) -> bool:
        """Whether what is done with an expression is looked at elsewhere, or nothing comes of it."""
        parent = self.source.parents[node]
        match parent:
            case ast.Attribute():
                call = self.source.parents[parent]
                return isinstance(call, ast.Call) and self.origin(call) is use
            case ast.Assign(targets=[ast.Name()]) | ast.Expr():
                return True
            case ast.comprehension():
                return self.origin(self.source.parents[parent]) is use
            case ast.Call(func=ast.Name(id="print")):
                return True
            case ast.Return():
                return any(self.origin(call) is use for call in self._calls_of(parent))
            case ast.Call() | ast.keyword() if self._is_given(parent, node, use):
                return True
        return self.origin(parent) is use

    def _calls_of(self, returned: ast.Return) -> Iterator[ast.Call]:
        """The calls whose result a `return` gives."""
        function = self.source.function_of(returned)
        return (call for call in self.source.served_of(ast.Call) if self.source.callee(call) is function)

    def _is_given(self, parent: ast.AST, node: ast.AST, use: Use) -> bool:
        """Whether an input is given to a function of this source that takes it from nowhere else."""
        call = self.source.parents[parent] if isinstance(parent, ast.keyword) else parent
        callee = self.source.callee(call) if isinstance(call, ast.Call) else None
        if not isinstance(call, ast.Call) or callee is None:
            return False
        parameters = {parameter for parameter, value in self.source.given(call, callee) if value is node}
        names = [each for each in ast.walk(callee) if isinstance(each, ast.Name) and each.id in parameters]
        return bool(names) and all(self.origin(each) is use for each in names)

    @cached_property
    def squeezed(self) -> tuple[Squeeze, ...]:
        """The squeezes of whole inputs, whose result is not asked for its shape afterwards."""
        return tuple(self._squeezes())

    def _squeezes(self) -> Iterator[Squeeze]:
        for call in self.source.served_of(ast.Call):
            match call.func:
                case ast.Attribute(value=inner, attr=method) if method == _SQUEEZE:
                    function = dotted(inner) in ("np", "numpy", "torch")
                    squeezed = call.args[0] if function and call.args else inner
                    axis = argument(call, 1 if function else 0, "axis") or keyword(call, "dim")
                    use = self.origin(squeezed)
                    if use is not None and not isinstance(squeezed, ast.ListComp) and not self._shape_matters(call):
                        if axis is None:
                            yield Squeeze(call, use, None)
                        elif isinstance(axis, ast.Constant) and axis.value == 0:
                            yield Squeeze(call, use, 0)

    @cached_property
    def joined(self) -> tuple[tuple[ast.Call, Use], ...]:
        """Where the contents of one input of all requests are joined to one array, each as it was sent."""
        found = []
        for call in self.source.served_of(ast.Call):
            match call:
                case ast.Call(func=ast.Attribute(attr=function), args=[ast.Name(id=name), *_]) if function in JOINS:
                    added = [value.args[0] for value, other in self.responses.additions if other == name and value.args]
                    uses = [self.origin(value) for value in added if self.responses.is_added_for_each_request(value)]
                    found += [(call, use) for use in uses if use is not None]
        return tuple(found)

    def _shape_matters(self, call: ast.Call) -> bool:
        match self.source.parents[call]:
            case ast.Attribute(attr=attribute):
                return attribute in _LOOKS_AT_SHAPE
            case ast.Assign(targets=[ast.Name(id=name)]):
                nodes = self.source.served_of(ast.Attribute)
                return any(dotted(node.value) == name and node.attr in _LOOKS_AT_SHAPE for node in nodes)
        return False


def _is_first(index: ast.expr) -> bool:
    first = index.elts[0] if isinstance(index, ast.Tuple) and index.elts else index
    return isinstance(first, ast.Constant) and first.value == 0 and not isinstance(first.value, bool)
