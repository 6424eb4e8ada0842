"""What a source does to the machine around it: what it imports, fetches, installs and writes."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from conch_tools.check.sources.names import Function
from conch_tools.check.sources.source import ADDED_AFTER_IMPORT, UTILITIES, Source, argument, dotted, keyword

_STUBS_OWN = frozenset({UTILITIES, "c_python_backend_utils"})
_SEARCHED = "sys.path"
_MODEL_LOADERS = ("from_pretrained", "snapshot_download", "hf_hub_download", "SentenceTransformer", "CrossEncoder")
"""Functions whose first argument is a folder, or a name on the Hugging Face hub, which they then fetch."""
_PIPELINE = "pipeline"
_PARTS_OF_A_LOAD = ("revision", "local_files_only", "commit_hash")
"""Arguments that pin a load or keep it from the network."""
_SHELLS = ("os.system", "subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output",
           "subprocess.Popen", "os.popen")  # fmt: skip
_INSTALLS = re.compile(r"\b(pip3?|conda|apt|apt-get)\b.*\binstall\b", re.DOTALL)
_WRITING_MODES = frozenset("wax+")
_WRITERS = ("imwrite", "imsave", "write_text", "write_bytes")
"""Functions and methods that write a file whatever their arguments are."""
_WRITERS_TO_PATHS = ("save", "savez", "savez_compressed", "savetxt", "savefig", "export", "write_video", "write_image",
                     "to_csv", "to_parquet", "to_json", "to_pickle")  # fmt: skip
"""Those that write into a buffer as well: only one with a path is counted."""
_TEMPORARY = "tempfile"
_NAMES_LABELS = re.compile(
    r"(label|class|categor)(y|ies|e?s|_?names?|_?list|_?map)*$|^(id|idx|index|ind)_?(2|to)_?", re.I
)
"""Names of tables from the number of a class to its name."""
_FEWEST_LABELS = 2
_CHANCE = ("random.", "np.random.", "numpy.random.", "torch.rand")
"""How calls begin whose result is another one each time."""
_SEEDS = ("seed", "manual_seed", "default_rng", "manual_seed_all")


@dataclass(frozen=True)
class Import:
    """A module that must be there for the source to load. `name` is the first part of its name."""

    node: ast.stmt
    name: str


@dataclass(frozen=True)
class Fetch:
    """A model or tokenizer that is loaded by a name. `parameter` is that of config.pbtxt which gives the name, where
    one does; `name` is the name in the source, or what stands in for an absent parameter; None is not known."""

    node: ast.Call
    function: str
    name: str | None
    parameter: str | None


@dataclass(frozen=True, eq=False)
class Effects:
    """The effects of a source."""

    source: Source

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """What is imported when the source is loaded, but not what it can do without or imports on a condition; nothing
        of a source that looks for its modules where it says itself."""
        if any(dotted(node) == _SEARCHED for node in self.source.of(ast.Attribute)):
            return ()
        return tuple(
            Import(node, name)
            for node in self.source.nodes
            if isinstance(node, ast.Import | ast.ImportFrom) and not self._is_conditional(node)
            for name in _imported(node)
            if name not in _STUBS_OWN and name not in sys.stdlib_module_names
        )

    @cached_property
    def used_too_early(self) -> tuple[tuple[ast.AST, str], ...]:
        """Where the import of a source itself needs what is in the stub's module only afterwards, with its name."""
        imports = (alias for node in self.source.of(ast.Import) for alias in node.names if alias.name == UTILITIES)
        modules = {alias.asname or alias.name for alias in imports}
        found: list[tuple[ast.AST, str]] = []
        for node in _evaluated_on_import(self.source.tree):
            match node:
                case ast.ImportFrom(module=module, names=names) if module == UTILITIES:
                    found += [(node, alias.name) for alias in names if alias.name in ADDED_AFTER_IMPORT]
                case ast.Attribute(value=module, attr=name) if name in ADDED_AFTER_IMPORT and dotted(module) in modules:
                    found.append((node, name))
        return tuple(pair for pair in found if not self._is_optional(pair[0]))

    def _is_optional(self, node: ast.AST) -> bool:
        return any(isinstance(each, ast.Try | ast.If) for each in self.source.around(node))

    def _is_conditional(self, node: ast.AST) -> bool:
        return self._is_optional(node) or any(map(self._is_function, self.source.around(node)))

    @staticmethod
    def _is_function(node: ast.AST) -> bool:
        return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "initialize"

    @cached_property
    def installs(self) -> tuple[ast.Call, ...]:
        """Calls that install packages."""
        return tuple(call for call in self.source.of(ast.Call) if self._installs(call))

    def _installs(self, call: ast.Call) -> bool:
        function = dotted(call.func) or ""
        if function in ("pip.main", "pip._internal.main", "pipmain"):
            return True
        if function not in _SHELLS or not call.args:
            return False
        texts = (node.value for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant))
        return _INSTALLS.search(" ".join(text for text in texts if isinstance(text, str))) is not None

    @cached_property
    def fetches(self) -> tuple[Fetch, ...]:
        """Loads of models and tokenizers that name no revision and may go to the network."""
        return tuple(self._fetches())

    def _fetches(self) -> Iterator[Fetch]:
        for call in self.source.of(ast.Call):
            function = (dotted(call.func) or "").rpartition(".")[2]
            wanted = None
            if function in _MODEL_LOADERS:
                given = argument(call, 0, "pretrained_model_name_or_path")
                wanted = given or keyword(call, "repo_id") or keyword(call, "model_name_or_path")
            elif function == _PIPELINE:
                wanted = argument(call, 1, "model")
            if wanted is not None and not any(keyword(call, part) for part in _PARTS_OF_A_LOAD):
                parameter, name = self._named(wanted)
                if parameter is not None or name is not None:
                    yield Fetch(call, function, name, parameter)

    def _named(self, wanted: ast.expr) -> tuple[str | None, str | None]:
        """The parameter of config.pbtxt that an expression is, and the text that it is or falls back to."""
        value = self.source.names.value(wanted)
        match value:
            case ast.Subscript(value=entry, slice=ast.Constant(value="string_value")):
                return self._parameter(entry), None
            case ast.Call(
                func=ast.Attribute(value=entry, attr="get"), args=[ast.Constant(value="string_value"), *rest]
            ):
                texts = self.source.names.texts(rest[0]) if rest else None
                return self._parameter(entry), _only(texts)
        return None, _only(self.source.names.texts(value))

    def _parameter(self, entry: ast.expr) -> str | None:
        match self.source.names.value(entry):
            case ast.Subscript(slice=key) | ast.Call(func=ast.Attribute(attr="get"), args=[key, *_]):
                return _only(self.source.names.texts(key))
        return None

    @cached_property
    def labels(self) -> tuple[ast.Assign, ...]:
        """Tables of class names that are written into the source: lists of texts, or texts by their number."""
        return tuple(node for node in self.source.of(ast.Assign) if self._is_table(node))

    def _is_table(self, node: ast.Assign) -> bool:
        names = {(dotted(target) or "").rpartition(".")[2] for target in node.targets}
        named = any(map(_NAMES_LABELS.search, names)) and bool(names & self._looked_up)
        match node.value:
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return named and len(elements) >= _FEWEST_LABELS and all(map(_is_text, elements))
            case ast.Dict(keys=keys, values=values) if len(values) >= _FEWEST_LABELS:
                numbers = [key.value for key in keys if isinstance(key, ast.Constant)]
                return (
                    any(map(_NAMES_LABELS.search, names))
                    and numbers == list(range(len(values)))
                    and all(map(_is_text, values))
                )
        return False

    @cached_property
    def _looked_up(self) -> frozenset[str]:
        """The names of what is looked up by a number that is not known before a request."""
        found = (node for node in self.source.of(ast.Subscript) if not isinstance(node.slice, ast.Constant | ast.Slice))
        return frozenset((dotted(node.value) or "").rpartition(".")[2] for node in found)

    @cached_property
    def is_random(self) -> bool:
        """Whether something is drawn by chance for a request, and no seed is set anywhere."""
        seeded = any(node.attr in _SEEDS for node in self.source.of(ast.Attribute))
        calls = (dotted(call.func) or "" for call in self.source.served_of(ast.Call))
        return not seeded and any(call.startswith(_CHANCE) for call in calls)

    @cached_property
    def writes(self) -> tuple[ast.Call, ...]:
        """Calls that write a file for a request."""
        return tuple(call for call in self.source.served_of(ast.Call) if self._writes(call))

    def _writes(self, call: ast.Call) -> bool:
        function = dotted(call.func) or ""
        method = call.func.attr if isinstance(call.func, ast.Attribute) else function
        path = call.args[0] if call.args else None
        if function in ("open", "io.open") and path is not None:
            mode = argument(call, 1, "mode")
            writes = isinstance(mode, ast.Constant) and bool(_WRITING_MODES & set(str(mode.value)))
            return writes and not self._is_temporary(path)
        if path is None or self._is_temporary(path):
            return False
        to_path = any(self._is_path(given) for given in call.args[:2])
        return method in _WRITERS or (method in _WRITERS_TO_PATHS and to_path)

    def _is_path(self, expression: ast.expr) -> bool:
        match self.source.names.value(expression):
            case ast.Constant(value=str()) | ast.JoinedStr():
                return True
            case ast.BinOp(left=left, op=ast.Add() | ast.Div() | ast.Mod()):
                return self._is_path(left) or isinstance(left, ast.Call)
            case ast.Call(func=function):
                return dotted(function) in ("str", "os.path.join", "Path", "pathlib.Path")
        return False

    def _is_temporary(self, path: ast.expr) -> bool:
        """Whether a path may come from `tempfile`: the function around it uses that module."""
        return not isinstance(path, ast.Constant) and self.source.function_of(path) in self._with_temporary_files

    @cached_property
    def _with_temporary_files(self) -> frozenset[Function | None]:
        names = (node for node in self.source.of(ast.Name) if node.id == _TEMPORARY)
        return frozenset(map(self.source.function_of, names))


def _evaluated_on_import(tree: ast.Module) -> Iterator[ast.AST]:
    """What Python evaluates when it imports a source: of a function its decorators, defaults and annotations only, and
    the last not where they are put off."""
    future = (node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__")
    put_off = any(alias.name == "annotations" for node in future for alias in node.names)
    waiting: list[ast.AST | None] = [tree]
    while waiting:
        match waiting.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() as function:
                waiting += [*function.decorator_list, *function.args.defaults, *function.args.kw_defaults]
                waiting += [] if put_off else [function.returns, *map(_annotation, ast.walk(function.args))]
            case ast.Lambda(args=parameters):
                waiting += [*parameters.defaults, *parameters.kw_defaults]
            case ast.AST() as node:
                yield node
                waiting += ast.iter_child_nodes(node)


def _annotation(node: ast.AST) -> ast.AST | None:
    return node.annotation if isinstance(node, ast.arg) else None


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif node.level == 0 and node.module:
        yield node.module.partition(".")[0]


def _is_text(expression: ast.expr | None) -> bool:
    return isinstance(expression, ast.Constant) and isinstance(expression.value, str)


def _only(texts: frozenset[str] | None) -> str | None:
    return next(iter(texts)) if texts is not None and len(texts) == 1 else None
