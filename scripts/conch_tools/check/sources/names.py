"""What a name in a source stands for, where only one thing can be meant.

A name that is bound once, to an expression that can be read, stands for it: a constant of the module, an attribute of
the class or of `self`, a local variable, an element of a list that a loop goes over. A parameter, a name that is bound
twice or elsewhere as well (by an import, `global`, `setattr`, or a constructor that is given a field), and the elements
of a list that is changed later, stand for nothing that is known here.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Scope = ast.Module | Function

_DEEPEST = 20
"""So many names may stand for names before one is given up: more is a circle."""
_CHANGES = frozenset({"append", "extend", "insert", "remove", "pop", "clear", "add", "update", "discard"})
"""Methods after which a list or a set no longer holds what was written down."""
MODEL_CLASS = "TritonPythonModel"
"""The class that the stub makes an instance of; its constructor is given nothing."""


@dataclass(frozen=True)
class Bound:
    """One binding of a name. `value` is None where nothing can be read; `each`: it is an element of the value."""

    value: ast.expr | None
    each: bool = False


class Names:
    """The bindings of a whole source. `parents` gives the node around each node."""

    def __init__(self, tree: ast.Module, parents: Mapping[ast.AST, ast.AST]) -> None:
        self._parents = parents
        self._scopes: dict[ast.AST, Scope] = {tree: tree}
        self._values: dict[ast.expr, ast.expr] = {}
        self._local: dict[tuple[ast.AST, str], list[Bound]] = defaultdict(list)
        self._attributes: dict[str, list[Bound]] = defaultdict(list)
        self._any_attribute = False
        """Whether attributes are set by names that are not known here."""
        self._tree = tree
        for node in ast.walk(tree):
            around = node if isinstance(node, Scope) else self._scopes[node]
            self._scopes.update(dict.fromkeys(ast.iter_child_nodes(node), around))
        for node in ast.walk(tree):
            for target, bound in _bindings(node):
                self._bind(target, bound)
            self._bind_by_name(node)

    def scope(self, node: ast.AST) -> Scope:
        """The function around a node, or the module."""
        return self._scopes[node]

    def bindings(self, name: ast.Name) -> list[Bound]:
        """All bindings of a name in the nearest scope that has any."""
        scope: ast.AST | None = self.scope(name)
        while scope is not None:
            if found := self._local.get((scope, name.id)):
                return found
            scope = None if isinstance(scope, ast.Module) else self.scope(scope)
        return []

    def is_local(self, name: ast.Name) -> bool:
        """Whether a name is a parameter or a variable of the function around it."""
        return not isinstance(self.scope(name), ast.Module) and (self.scope(name), name.id) in self._local

    def value(self, expression: ast.expr) -> ast.expr:
        """What an expression stands for: itself, unless it is a name for another."""
        if expression not in self._values:
            value = expression
            for _ in range(_DEEPEST):
                bound = self._only(value)
                if bound is None or bound.value is None or bound.each:
                    break
                value = bound.value
            self._values[expression] = value
        return self._values[expression]

    def texts(self, expression: ast.expr, depth: int = 0) -> frozenset[str] | None:
        """The texts that an expression can be, or None where that is not known."""
        if isinstance(expression, ast.Constant):
            return frozenset({expression.value}) if isinstance(expression.value, str) else None
        bound = self._only(expression)
        if bound is None or bound.value is None or depth > _DEEPEST:
            return None
        return self._elements(bound.value, depth + 1) if bound.each else self.texts(bound.value, depth + 1)

    def _elements(self, expression: ast.expr, depth: int) -> frozenset[str] | None:
        expression = self.value(expression)
        if not isinstance(expression, ast.List | ast.Tuple | ast.Set) or expression in self._changed:
            return None
        found = [self.texts(element, depth) for element in expression.elts]
        return None if None in found else frozenset().union(*(texts for texts in found if texts is not None))

    def _only(self, expression: ast.expr) -> Bound | None:
        found: list[Bound] = []
        if isinstance(expression, ast.Name):
            found = self.bindings(expression)
        elif isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
            found = [] if self._any_attribute else self._attributes.get(expression.attr, [])
        return found[0] if len(found) == 1 else None

    @cached_property
    def _changed(self) -> frozenset[ast.expr]:
        """What is written down and then changed, under any of its names."""
        return frozenset(self.value(changed) for node in ast.walk(self._tree) for changed in _changes(node))

    def _bind(self, target: ast.AST, bound: Bound) -> None:
        if isinstance(target, ast.Name):
            parent = self._parents.get(target)
            around = parent and self._parents.get(parent)
            if isinstance(around, ast.ClassDef):
                self._attributes[target.id].append(Bound(None) if _has_fields(around) else bound)
            else:
                self._local[self.scope(target), target.id].append(bound)
        elif isinstance(target, ast.Attribute):
            self._attributes[target.attr].append(bound)
        elif isinstance(target, ast.arg):
            self._local[self.scope(target), target.arg].append(bound)
        elif isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._bind(element, Bound(None))
        elif isinstance(target, ast.Starred):
            self._bind(target.value, Bound(None))

    def _bind_by_name(self, node: ast.AST) -> None:
        """Bind what a node names by a text, to something that is not known here."""
        match node:
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                self._local[self.scope(node), name].append(Bound(None))
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases) if self.scope(node) is self._tree:
                for alias in aliases:
                    self._local[self._tree, alias.asname or alias.name].append(Bound(None))
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                scope: Scope = self.scope(node)
                while not isinstance(scope, ast.Module):
                    scope = self.scope(scope)
                    for name in names:
                        self._local[scope, name].append(Bound(None))
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str(name)), _]):
                self._attributes[name].append(Bound(None))
            case ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id="self"), *_]):
                self._any_attribute = True
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="__dict__"), attr="update")):
                self._any_attribute = True


def _changes(node: ast.AST) -> Iterator[ast.expr]:
    """What a node changes in place."""
    match node:
        case ast.Call(func=ast.Attribute(value=changed, attr=method)) if method in _CHANGES:
            yield changed
        case ast.Subscript(value=changed, ctx=ast.Store() | ast.Del()):
            yield changed


def _has_fields(around: ast.ClassDef) -> bool:
    """Whether what a class binds may be a default only, which a constructor is given another value for."""
    return around.name != MODEL_CLASS and bool(around.decorator_list or around.bases)


def _bindings(node: ast.AST) -> Iterator[tuple[ast.AST, Bound]]:
    """What a statement or an expression binds; names that `def` binds are left out: nobody reassigns them to a text."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _pairwise(target, value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, Bound(value)
        case ast.NamedExpr(target=target, value=value):
            yield target, Bound(value)
        case ast.AugAssign(target=target):
            yield target, Bound(None)
        case ast.For(target=target, iter=iterable) | ast.AsyncFor(target=target, iter=iterable):
            yield from _loop(target, iterable)
        case ast.comprehension(target=target, iter=iterable):
            yield from _loop(target, iterable)
        case ast.withitem(optional_vars=ast.expr() as target):
            yield target, Bound(None)
        case ast.arg():
            yield node, Bound(None)


def _pairwise(target: ast.expr, value: ast.expr) -> Iterable[tuple[ast.AST, Bound]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return [(name, Bound(each)) for name, each in zip(target.elts, value.elts, strict=True)]
    return [(target, Bound(value))]


def _loop(target: ast.expr, iterable: ast.expr) -> Iterable[tuple[ast.AST, Bound]]:
    match target, iterable:
        case ast.Tuple(elts=[counter, element]), ast.Call(func=ast.Name(id="enumerate"), args=[inner]):
            return [(counter, Bound(None)), (element, Bound(inner, each=True))]
    return [(target, Bound(iterable, each=True))]
