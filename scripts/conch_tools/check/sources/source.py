"""One parsed model.py: its class, its functions, and which of them `execute` comes to."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from conch_tools.check.findings import Place
from conch_tools.check.sources.names import MODEL_CLASS, Function, Names

EXECUTE = "execute"
COMPLETION = "auto_complete_config"
"""The method by which a source completes its model's configuration before Triton checks it."""
UTILITIES = "triton_python_backend_utils"
"""The module that Triton's stub gives to a model."""
ADDED_AFTER_IMPORT = frozenset(
    {
        "InferenceRequest", "InferenceResponse", "Logger", "MetricFamily", "PreferredMemory", "Tensor",
        "TRITONSERVER_MEMORY_CPU", "TRITONSERVER_MEMORY_GPU", "TritonError", "TritonModelException",
        "get_model_dir", "is_model_ready", "load_model", "unload_model",
    }
)  # fmt: skip
"""What is in that module only once the model's own one has been imported."""

_HANDED_IN = "pb_utils"
"""What the module is called where a function gets it as a parameter."""
LOOKS_ONLY = frozenset({"len", "print", "isinstance", "range", "bool", "id", "str", "repr", "type", "hasattr"})
"""Functions that tell something of what they are given and keep nothing."""
_DEFINES_ANYTHING = frozenset({"exec", "globals", "setattr", "__pyarmor__"})
"""Functions by which a module gets names that do not stand in it."""
KEPT = 512
"""Sources that are held in memory: a check reads a repository once for each profile."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef
Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True)
class Unreadable:
    """A file that is no Python, and why."""

    place: Place
    problem: str


@dataclass(frozen=True, eq=False)
class Source:
    """A source that could be parsed. Everything else about it is worked out when it is asked for, once."""

    file: Path
    tree: ast.Module

    def place(self, node: ast.AST) -> Place:
        """Where a node stands."""
        return Place(self.file, getattr(node, "lineno", None))

    def where(self, node: ast.AST) -> str:
        """The same, as it stands in a sentence."""
        return f"{self.file.name}:{getattr(node, 'lineno', 1)}"

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node, from the outside to the inside."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        """The node around each node."""
        return MappingProxyType({child: node for node in self.nodes for child in ast.iter_child_nodes(node)})

    @cached_property
    def names(self) -> Names:
        """What names stand for."""
        return Names(self.tree, self.parents)

    @cached_property
    def model_class(self) -> ast.ClassDef | None:
        """The class that the stub makes an instance of."""
        found = [node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == MODEL_CLASS]
        return found[-1] if found else None

    @cached_property
    def functions(self) -> Mapping[str, Definition]:
        """The functions and methods by name, without the names that are given twice."""
        found: dict[str, list[Definition]] = {}
        for node in self.nodes:
            if isinstance(node, Definition):
                found.setdefault(node.name, []).append(node)
        return MappingProxyType({name: nodes[0] for name, nodes in found.items() if len(nodes) == 1})

    def method(self, name: str) -> Definition | None:
        """A method of the model's class, None where the class has none of that name itself."""
        body = self.model_class.body if self.model_class is not None else ()
        found = (node for node in body if isinstance(node, Definition))
        return next((node for node in found if node.name == name), None)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """What the model's class defines or binds, also on a condition or from outside, by name."""
        body = self.model_class.body if self.model_class is not None else ()
        inside = (node for statement in body for node in (statement, *_blocks_of(statement)))
        given = (node for node in self.of(ast.Attribute) if isinstance(node.ctx, ast.Store))
        outside = (node.attr for node in given if dotted(node.value) == MODEL_CLASS)
        return (*_defined(inside), *outside)

    @property
    def model_class_inherits(self) -> bool:
        """Whether methods of the model's class can come from elsewhere."""
        made = self.model_class
        by_name = not {"__getattr__", "__getattribute__"}.isdisjoint(self.methods)
        return made is None or by_name or bool(made.bases or made.keywords or made.decorator_list)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of the module."""
        return tuple(node.name for node in self.tree.body if isinstance(node, ast.ClassDef))

    def may_define(self, name: str) -> bool:
        """Whether a name of the module can come from elsewhere: an import, an assignment, a condition."""
        made = {dotted(call.func) for call in self.of(ast.Call) if self.function_of(call) is None}
        return not {name, "*"}.isdisjoint(_defined(self.nodes)) or not made.isdisjoint(_DEFINES_ANYTHING)

    @cached_property
    def execute(self) -> Definition | None:
        """The method that answers requests."""
        return self.method(EXECUTE)

    @cached_property
    def served(self) -> tuple[ast.AST, ...]:
        """Every node that can run for a request: `execute` and the functions of this source that it comes to."""
        waiting = [self.execute] if self.execute is not None else []
        reached = list(waiting)
        while waiting:
            for call in ast.walk(waiting.pop()):
                callee = self.callee(call) if isinstance(call, ast.Call) else None
                if callee is not None and callee not in reached:
                    reached.append(callee)
                    waiting.append(callee)
        return tuple(dict.fromkeys(node for function in reached for node in ast.walk(function)))

    def callee(self, call: ast.Call) -> Definition | None:
        """The function of this source that is called, None for all others."""
        match call.func:
            case ast.Name(id=name):
                return self.functions.get(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                return self.method(name) or self.functions.get(name)
        return None

    def given(self, call: ast.Call, callee: Definition) -> Iterator[tuple[str, ast.expr]]:
        """The parameters of a function with what a call gives them, as far as that is written one by one."""
        parameters = [parameter.arg for parameter in callee.args.args]
        static = any(dotted(decorator) == "staticmethod" for decorator in callee.decorator_list)
        if isinstance(call.func, ast.Attribute) and not static:
            parameters = parameters[1:]
        yield from zip(parameters, call.args, strict=False)
        yield from ((keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg is not None)

    def arguments(self, name: ast.Name) -> tuple[ast.expr, ...]:
        """What a parameter of this name is given by all calls of its function; nothing where not all are known."""
        function = self.function_of(name)
        if not isinstance(function, Definition) or len(self.names.bindings(name)) != 1:
            return ()
        uses = self._uses_of(function)
        given: list[ast.expr] = []
        for use in uses:
            call = self.parents[use]
            if not isinstance(call, ast.Call) or call.func is not use or self.callee(call) is not function:
                return ()
            given += [value for parameter, value in self.given(call, function) if parameter == name.id]
        return tuple(given) if len(given) == len(uses) else ()

    def _uses_of(self, function: Definition) -> list[ast.Name | ast.Attribute]:
        """Wherever a function, or another thing of its name, is called or handed on."""
        names: list[ast.Name | ast.Attribute] = [node for node in self.of(ast.Name) if node.id == function.name]
        return names + [node for node in self.of(ast.Attribute) if node.attr == function.name]

    def returns_of(self, function: Definition) -> tuple[ast.Return, ...]:
        """The `return` statements of a function itself."""
        found = (node for node in ast.walk(function) if isinstance(node, ast.Return))
        return tuple(node for node in found if self.function_of(node) is function)

    def of(self, kind: type[Node]) -> Iterator[Node]:
        """The nodes of a kind."""
        return (node for node in self.nodes if isinstance(node, kind))

    def served_of(self, kind: type[Node]) -> Iterator[Node]:
        """The nodes of a kind that can run for a request."""
        return (node for node in self.served if isinstance(node, kind))

    def function_of(self, node: ast.AST) -> Function | None:
        """The function around a node."""
        scope = self.names.scope(node)
        return None if isinstance(scope, ast.Module) else scope

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the inside to the outside."""
        parent = self.parents.get(node)
        while parent is not None:
            yield parent
            parent = self.parents.get(parent)

    @cached_property
    def _utilities(self) -> tuple[frozenset[str], Mapping[str, str]]:
        """The names of the stub's module here, and those of what is imported from it with the names there."""
        modules = {_HANDED_IN}
        members: dict[str, str] = {}
        for node in self.of(ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == UTILITIES}
        for source in self.of(ast.ImportFrom):
            if source.module == UTILITIES:
                members |= {alias.asname or alias.name: alias.name for alias in source.names}
        return frozenset(modules), MappingProxyType(members)

    def utility(self, call: ast.AST) -> str | None:
        """What of the stub's module is called: `Tensor`, `Tensor.from_dlpack`, `InferenceResponse`, … or None."""
        modules, members = self._utilities
        path = dotted(call.func) if isinstance(call, ast.Call) else None
        if path is None:
            return None
        head, _, rest = path.partition(".")
        if head == "self":
            head, _, rest = rest.partition(".")
        if head in modules:
            return rest
        return f"{members[head]}{'.' * bool(rest)}{rest}" if head in members else None

    def elements(self, whole: ast.expr) -> tuple[ast.expr, ...] | None:
        """The elements of a list that is written down, or kept under a name and appended to; None where anything else
        that may change it is done with that name."""
        written = self.names.value(whole)
        if not isinstance(written, ast.List | ast.Tuple):
            return None
        if written is whole:
            return tuple(written.elts)
        if not isinstance(whole, ast.Name):
            return None
        appended: list[ast.expr] = []
        for use in (node for node in self.of(ast.Name) if node.id == whole.id and isinstance(node.ctx, ast.Load)):
            if self.names.bindings(use) is not self.names.bindings(whole):
                continue
            match self.parents[use]:
                case ast.Attribute(attr="append") as method:
                    match self.parents[method]:
                        case ast.Call(args=[element]):
                            appended.append(element)
                        case _:
                            return None
                case ast.Attribute() | ast.Subscript(ctx=ast.Store() | ast.Del()):
                    return None
                case ast.Call() as call if not self._only_looks(call):
                    return None
                case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
                    return None
        return (*written.elts, *appended)

    def _only_looks(self, call: ast.Call) -> bool:
        return self.utility(call) is not None or (isinstance(call.func, ast.Name) and call.func.id in LOOKS_ONLY)

    def calls_of(self, *utilities: str) -> Iterator[ast.Call]:
        """The calls of these functions or classes of the stub's module, in the order of lines."""
        found = [node for node in self.of(ast.Call) if self.utility(node) in utilities]
        return iter(sorted(found, key=lambda call: (call.lineno, call.col_offset)))


def _blocks_of(statement: ast.AST) -> Iterator[ast.AST]:
    """What stands inside of `if`, `try` and their like; nothing of a function or a class."""
    if not isinstance(statement, Definition | ast.ClassDef):
        for inner in ast.iter_child_nodes(statement):
            yield inner
            if isinstance(inner, ast.stmt | ast.ExceptHandler | ast.match_case):
                yield from _blocks_of(inner)


def _defined(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that statements bind; `*` for an import that names none."""
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                inside = (node for target in targets for node in ast.walk(target))
                yield from (
                    node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                )
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name for alias in aliases)


def dotted(expression: ast.expr) -> str | None:
    """`a.b.c` as it is written, None for any other expression."""
    names: list[str] = []
    while isinstance(expression, ast.Attribute):
        names.append(expression.attr)
        expression = expression.value
    return ".".join((expression.id, *reversed(names))) if isinstance(expression, ast.Name) else None


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """An argument of a call, given by its position or its name."""
    positional = call.args[position] if position < len(call.args) else None
    return keyword(call, name) if positional is None or isinstance(positional, ast.Starred) else positional


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """An argument of a call that is given by its name."""
    return next((given.value for given in call.keywords if given.arg == name), None)


def read_source(file: Path) -> Source | Unreadable:
    """A source as the Python of this process reads it; the server runs models with the same one."""
    return _parsed(file, file.read_bytes())


@lru_cache(KEPT)
def _parsed(file: Path, content: bytes) -> Source | Unreadable:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Source(file, _without_annotations(ast.parse(content)))
    except SyntaxError as problem:
        return Unreadable(Place(file, problem.lineno), problem.msg)
    except (ValueError, RecursionError, MemoryError) as problem:
        return Unreadable(Place(file), str(problem) or type(problem).__name__)


def _without_annotations(tree: ast.Module) -> ast.Module:
    """The same with `a: T = b` as `a = b`, which does the same: whoever looks for assignments then sees all."""
    fields = (getattr(node, name, None) for node in ast.walk(tree) for name in ("body", "orelse", "finalbody"))
    for block in (field for field in fields if isinstance(field, list)):
        for index, node in enumerate(block):
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                block[index] = ast.copy_location(ast.Assign([node.target], node.value), node)
    return tree
