"""Rules about what happens when Triton loads a model.py: it parses, has its class, finds its packages and its files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from conch_tools.check.adaptors import Adaptor, SourceFile, adaptors, source_files
from conch_tools.check.findings import Place, Problem, Severity, cure_for_name
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.sources.effects import Fetch
from conch_tools.check.sources.names import MODEL_CLASS
from conch_tools.check.sources.source import EXECUTE, Unreadable

SOURCE_FILES = Rulebook[SourceFile](source_files)
ADAPTORS = Rulebook[Adaptor](adaptors)

_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_NAME_OF_A_MODEL = re.compile(r"[/-]")
"""What the names on a hub have and those of a folder beside the model seldom do."""


@SOURCE_FILES.rule("PYS001", Severity.ERROR)
def source_does_not_parse(file: SourceFile) -> Iterator[Problem]:
    """A model.py is no Python.

    The process that Triton starts for the model cannot read it, and the load fails.

    Bad in `embed/1/model.py`:

        def execute(self, requests: list[Any]) -> list[Any]

    Good:

        def execute(self, requests: list[Any]) -> list[Any]:
    """
    if isinstance(file.content, Unreadable) and not file.has_own_environment:
        yield Problem(file.content.place, f"this is no Python: {file.content.problem}", "correct the source here")


@ADAPTORS.rule("PYS002", Severity.ERROR)
def no_model_class(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py has no class `TritonPythonModel`.

    The process that Triton starts for the model makes an instance of the class of this name, and fails without it.

    Bad in `embed/1/model.py`:

        class PythonModel:

    Good:

        class TritonPythonModel:
    """
    source = adaptor.source
    if source.model_class is None and not source.may_define(MODEL_CLASS):
        cure = cure_for_name(MODEL_CLASS, source.classes, f"add `class {MODEL_CLASS}` with a method `{EXECUTE}`")
        yield Problem(Place(source.file), f"there is no class `{MODEL_CLASS}`", cure)


@ADAPTORS.rule("PYS003", Severity.ERROR)
def no_execute(adaptor: Adaptor) -> Iterator[Problem]:
    """The class `TritonPythonModel` has no method `execute`.

    Triton calls it with the requests: it loads the model only where there is one.

    Bad in `embed/1/model.py`:

        def infer(self, requests: list[Any]) -> list[Any]:

    Good:

        def execute(self, requests: list[Any]) -> list[Any]:
    """
    source = adaptor.source
    if source.model_class is not None and source.execute is None and not source.model_class_inherits:
        methods = source.methods
        if EXECUTE not in methods:
            cure = cure_for_name(EXECUTE, methods, f"add `def {EXECUTE}(self, requests)`")
            yield Problem(source.place(source.model_class), f"`{MODEL_CLASS}` has no method `{EXECUTE}`", cure)


@ADAPTORS.rule("PYS004", Severity.WARNING)
def package_not_installed(adaptor: Adaptor) -> Iterator[Problem]:
    """A source imports a package that is not installed here.

    Triton loads the model only where the server's Python finds the package. Nothing is said of a source that changes
    `sys.path`.

    Bad in `embed/1/model.py`:

        import numpie as np

    Good:

        import numpy as np
    """
    if adaptor.of.has_own_environment:
        return
    folders = _folders_on_the_path(adaptor)
    for imported in adaptor.facts.effects.imports:
        if not any(_is_module(folder, imported.name) for folder in folders) and not _is_installed(imported.name):
            what = f"the package `{imported.name}` is not installed here"
            cure = "install it where the server runs, or give the model an environment by `EXECUTION_ENV_PATH`"
            yield Problem(adaptor.source.place(imported.node), what, cure)


@ADAPTORS.rule("PYS005", Severity.WARNING)
def installs_packages(adaptor: Adaptor) -> Iterator[Problem]:
    """A source installs packages.

    Each instance of the model does so on each start, at the same time, from a network that may not be there, and gets
    whatever is the newest version then.

    Bad in `likeness/1/model.py`:

        config = json.loads(args["model_config"])
        os.system("pip install sentence-transformers")

    Good:

        config = json.loads(args["model_config"])
    """
    for call in adaptor.facts.effects.installs:
        cure = "install it when the image is built, in a pinned version"
        yield Problem(adaptor.source.place(call), "packages are installed while the server runs", cure)


@ADAPTORS.rule("PYS006", Severity.WARNING)
def fetched_without_revision(adaptor: Adaptor) -> Iterator[Problem]:
    """A model or tokenizer is loaded by its name on a hub, without a revision.

    Each start asks the hub and gets whatever stands there then; without a network the load fails. The other parts of
    the model, as an exported graph, stay as they are, and no longer go with it.

    Bad in `likeness/1/model.py`:

        config = json.loads(args["model_config"])
        self._tokenizer = AutoTokenizer.from_pretrained("distilbert/distilbert-base-uncased")

    Good:

        config = json.loads(args["model_config"])
        self._tokenizer = AutoTokenizer.from_pretrained(pb_utils.get_model_dir())

    Instead of:

        config = json.loads(args["model_config"])
    """
    for fetch in adaptor.facts.effects.fetches:
        for name, place in _names_of(adaptor, fetch):
            if _ON_THE_HUB.fullmatch(name) and _NAME_OF_A_MODEL.search(name) and not _is_file(adaptor, name):
                what = f"`{fetch.function}` loads `{name}` from a hub in whatever revision stands there"
                cure = "keep its files in the version folder and load them from there, or name a `revision`"
                yield Problem(place, what, cure)


@ADAPTORS.rule("PYS007", Severity.ERROR)
def used_too_early(adaptor: Adaptor) -> Iterator[Problem]:
    """A source uses a part of `triton_python_backend_utils` that is not there yet.

    Triton imports the source first and then puts `Tensor`, `InferenceRequest`, `Logger` and others into the module: the
    import fails where an annotation, a base class or a statement outside of all functions needs one of them.

    Bad in `embed/1/model.py`:

        def _answer(self, request: pb_utils.InferenceRequest) -> Any:

    Good:

        def _answer(self, request: "pb_utils.InferenceRequest") -> Any:

    Instead of:

        def _answer(self, request: Any) -> Any:
    """
    for node, name in adaptor.facts.effects.used_too_early:
        cure = f"use `pb_utils.{name}` within functions, or put quotes around an annotation"
        what = f"`{name}` is not in triton_python_backend_utils yet when this source is imported"
        yield Problem(adaptor.source.place(node), what, cure)


def _names_of(adaptor: Adaptor, fetch: Fetch) -> Iterator[tuple[str, Place]]:
    """The names that a load can have for the models of the source, each where it is written."""
    here = adaptor.source.place(fetch.node)
    for model in adaptor.models:
        parameters = model.config.parameters
        if fetch.parameter is not None and fetch.parameter in parameters:
            yield parameters[fetch.parameter].string_value, here
        elif fetch.name is not None:
            yield fetch.name, here


def _is_file(adaptor: Adaptor, name: str) -> bool:
    return any((folder / name).exists() for folder in (Path(), *_folders_on_the_path(adaptor)))


def _folders_on_the_path(adaptor: Adaptor) -> tuple[Path, ...]:
    """Where Python looks for a source's own modules: beside it and one folder up."""
    return adaptor.source.file.parent, adaptor.source.file.parent.parent


def _is_module(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file() or any(folder.glob(f"{name}.*.so"))


@cache
def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
