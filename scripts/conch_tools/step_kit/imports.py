"""How a step's code is imported: alone in its process with Triton, one of many in a test's.

In its process a step finds everything installed, `triton_python_backend_utils` and the files beside its model.py. Here
many steps live together, so what belongs to one is imported under a name of its own, and the code sees it under the
usual one: through the `__import__` in its builtins, wherever and whenever its `import` runs, in another thread as
well. `sys.modules` holds nothing under the usual names.
"""

from __future__ import annotations

import builtins
import importlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_numbers = itertools.count(1)


class StepImports:
    """The imports of one step's code. `folders` are those that Triton appends to the path of a step; the first one
    holds its model.py.
    """

    def __init__(self, folders: Sequence[Path], given: Mapping[str, ModuleType]) -> None:
        self._folders = [str(folder) for folder in folders]
        self._given = given
        self._name = f"_step_{next(_numbers)}"
        self._is_own: dict[str, bool] = {}

    def load(self, file: Path) -> ModuleType:
        """The code of a model.py. Raises whatever it raises."""
        package = ModuleType(self._name)
        package.__path__ = self._folders
        sys.modules[self._name] = package
        sys.meta_path.insert(0, self)
        return importlib.import_module(f"{self._name}.{file.stem}")

    def forget(self) -> None:
        """Take everything out of `sys.modules` again."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == self._name or name.startswith(f"{self._name}.")]:
            del sys.modules[name]

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """For Python's import system: files of this step, whose code gets these imports."""
        if not name.startswith(f"{self._name}.") or path is None:
            return None
        for folder in path:
            finder = FileFinder(folder, (partial(_OwnCode, self._builtins), SOURCE_SUFFIXES))  # type: ignore[arg-type]
            spec = finder.find_spec(name)
            if spec is not None:
                return spec
        return None

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """What an `import` statement in the step's code does."""
        head = name.partition(".")[0]
        if level == 0 and head in self._given:
            return self._given[head]
        if level == 0 and self._own(head):
            module = builtins.__import__(f"{self._name}.{name}", globals, locals, fromlist)
            return module if fromlist else sys.modules[f"{self._name}.{head}"]
        return builtins.__import__(name, globals, locals, fromlist, level)

    @cached_property
    def _builtins(self) -> dict[str, Any]:
        return {**vars(builtins), "__import__": self}

    def _own(self, head: str) -> bool:
        if head not in self._is_own:
            installed = (
                head in sys.builtin_module_names or head in sys.modules or PathFinder.find_spec(head) is not None
            )
            self._is_own[head] = not installed and PathFinder.find_spec(head, self._folders) is not None
        return self._is_own[head]


class _OwnCode(SourceFileLoader):
    """Runs a file with the imports of its step. Leaves no bytecode behind in a model repository."""

    def __init__(self, own_builtins: dict[str, Any], fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._builtins = own_builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        return
