"""Lists of responses that a model keeps from one execution to the next, and never empties."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from conch_tools.check.sources.responses import Responses, is_empty
from conch_tools.check.sources.rows import ADDS_MANY, ADDS_ONE
from conch_tools.check.sources.source import LOOKS_ONLY, Source


def kept_lists(responses: Responses) -> Iterator[tuple[ast.Return, str]]:
    """Where `execute` returns a list of `self` that was made before and only ever grows, with its name there."""
    for node in responses.given_back if not responses.source.model_class_inherits else ():
        kept = _attribute(responses.source, node.value)
        if kept is not None and _only_grows(responses.source, kept):
            yield node, kept


def _attribute(source: Source, value: ast.expr | None) -> str | None:
    """The attribute of `self` that a value is, directly or by one other name."""
    if isinstance(value, ast.Name):
        bindings = source.names.bindings(value)
        value = bindings[0].value if len(bindings) == 1 else None
    match value:
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name
    return None


def _only_grows(source: Source, kept: str) -> bool:
    served = set(source.served)
    begun, grows = False, False
    for node, is_stored in _uses(source, kept):
        parent = source.parents[node]
        match parent:
            case ast.AugAssign(op=ast.Add()) if is_stored:
                grows = grows or node in served
            case ast.Assign(value=value) if is_stored:
                if node in served or not is_empty(value):
                    return False
                begun = True
            case ast.Attribute(attr=method) if method in (ADDS_ONE, ADDS_MANY):
                grows = grows or node in served
            case ast.Return() | ast.Assign(targets=[ast.Name()]):
                pass
            case ast.Call(func=ast.Name(id=function)) if function in LOOKS_ONLY:
                pass
            case _:
                return False
    return begun and grows


def _uses(source: Source, kept: str) -> Iterator[tuple[ast.expr, bool]]:
    """Every place where the list is, also by other names, and whether it gets a value there."""
    others = set[tuple[ast.AST, str]]()
    for attribute in source.of(ast.Attribute):
        if attribute.attr == kept:
            yield attribute, not isinstance(attribute.ctx, ast.Load)
            match source.parents[attribute]:
                case ast.Assign(targets=[ast.Name(id=name) as target], value=value) if value is attribute:
                    others.add((source.names.scope(target), name))
    for node in source.of(ast.Name):
        if isinstance(node.ctx, ast.Load) and (source.names.scope(node), node.id) in others:
            yield node, False
        elif node.id == kept and isinstance(node.ctx, ast.Store) and _is_in_class(source, node):
            yield node, True


def _is_in_class(source: Source, name: ast.Name) -> bool:
    """Whether a value is given to a name in the body of the model's class."""
    return source.parents[source.parents[name]] is source.model_class
