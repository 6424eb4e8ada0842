"""How a step's code is imported: alone in its process with Triton, one of many in a test's.

In its process a step finds everything installed, `triton_python_backend_utils` and the files beside its model.py. Here
many steps live together, so what belongs to one is imported under a name of its own, and the code sees it under the
usual one: through the `__import__` in its builtins, wherever and whenever its `import` runs, in another thread as
well, and through an `importlib` whose `import_module` does the same. `sys.modules` holds nothing under the usual names,
and what a step does to `sys.path` is undone.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_numbers = itertools.count(1)
_path_in_use = threading.RLock()
"""`sys.path` belongs to the whole process, so one step is loaded at a time."""


class StepImports:
    """The imports of one step's code. `folders` are those that Triton appends to the path of a step; the first one
    holds its model.py.
    """

    def __init__(self, folders: Sequence[Path], given: Mapping[str, ModuleType]) -> None:
        self._folders = [os.path.realpath(folder) for folder in folders]
        self._given = given
        self._name = f"_step_{next(_numbers)}"
        self._is_own: dict[str, bool] = {}
        self._path = [*sys.path, *self._folders]
        """`sys.path` as the step has left it."""
        self._path_before, self._modules_before = list(sys.path), set(sys.modules)

    @contextlib.contextmanager
    def own_path(self) -> Iterator[None]:
        """Inside, `sys.path` is the step's."""
        with _path_in_use:
            before = sys.path
            sys.path = self._path
            try:
                yield
            finally:
                # A step may have put another list in its place.
                self._path, sys.path = sys.path, before

    def load(self, file: Path) -> ModuleType:
        """The code of a model.py. Raises whatever it raises."""
        package = ModuleType(self._name)
        package.__path__ = self._folders
        sys.modules[self._name] = package
        sys.meta_path.insert(0, self)
        return importlib.import_module(f"{self._name}.{file.stem}")

    def forget(self) -> None:
        """Take everything out of `sys.modules` and `sys.path` again that the step brought there."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == self._name or name.startswith(f"{self._name}.")]:
            del sys.modules[name]
        # Under the usual names is what an installed package imported while the step was loaded.
        for name in sys.modules.keys() - self._modules_before:
            if self._lies_inside(_file_of(name)):
                del sys.modules[name]
        sys.path[:] = [each for each in sys.path if each in self._path_before or not self._lies_inside(each)]

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """For Python's import system: files of this step, whose code gets these imports."""
        if not name.startswith(f"{self._name}.") or path is None:
            return None
        head_of_all = name.count(".") == 1
        for folder in self._own_places() if head_of_all else path:
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
        module = builtins.__import__(name, globals, locals, fromlist, level)
        return self._importlib if module is importlib else module

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """What `importlib.import_module` does in the step's code."""
        head = name.partition(".")[0]
        if name in self._given:
            return self._given[name]
        return importlib.import_module(f"{self._name}.{name}" if head and self._own(head) else name, package)

    @cached_property
    def _importlib(self) -> ModuleType:
        module = ModuleType(importlib.__name__, importlib.__doc__)
        vars(module).update(import_module=self.import_module, __getattr__=partial(getattr, importlib))
        return module

    @cached_property
    def _builtins(self) -> dict[str, Any]:
        return {**vars(builtins), "__import__": self}

    def _own(self, head: str) -> bool:
        if head not in self._is_own:
            if head in sys.builtin_module_names:
                places: Sequence[str | None] = ()
            elif head in sys.modules:
                places = [_file_of(head)]
            elif (spec := PathFinder.find_spec(head, [*self._path, *sys.path])) is not None:
                places = [spec.origin, *(spec.submodule_search_locations or ())]
            else:
                # A place that the step adds to `sys.path` later may have it.
                return False
            self._is_own[head] = any(self._lies_inside(place) for place in places)
        return self._is_own[head]

    def _own_places(self) -> list[str]:
        return list(dict.fromkeys(each for each in [*self._path, *sys.path] if self._lies_inside(each)))

    def _lies_inside(self, place: str | None) -> bool:
        if not place:
            return False
        place = os.path.realpath(place)
        return any(place == folder or place.startswith(folder + os.sep) for folder in self._folders)


def _file_of(loaded: str) -> str | None:
    """Without `getattr`, which modules that load themselves lazily, as those of six, answer by importing."""
    file = getattr(sys.modules[loaded], "__dict__", {}).get("__file__")
    return file if isinstance(file, str) else None


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
