"""A bad and a good example of what a rule is about: how its docstring shows them, and the repository they are part of.

`example_repository` beside this module is small and sound: no rule has anything to say about it. An example changes it
in one place, so that a few lines show the fault, and all that belongs to it is there to be checked or loaded:

    Bad in `sentiment_labels/config.pbtxt`:

        { name: "label" data_type: TYPE_INVALID dims: [ -1 ] },

    Good:

        { name: "label" data_type: TYPE_STRING dims: [ -1 ] },

In that file the bad text takes the place of the good one, which must stand there once; indentation does not count.
Where the good text is no part of the file, a third section says what both take the place of: `Instead of:`. A fault may
also be that a file or a folder is missing, is there (its text follows, if there is any), has another name or is a link:

    Bad without `sentiment_model/1/model.onnx`.
    Bad with `notes/readme.txt`.
    Bad with `double` named `double it`.
    Bad with `notes` linked to `elsewhere`.

Then the repository as it is, is the good example. ONNX graphs lie there in ONNX's text form as `.onnxtxt`; an example
calls them `.onnx`, as they are called once they are written out.
"""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).with_name("example_repository")
_GRAPH, _GRAPH_TEXT = ".onnx", ".onnxtxt"
_ANY_BYTES = "surrogateescape"
"""How an image passes for text, and becomes the same bytes again."""

_HEADING = re.compile(
    r"Bad (?P<how>in|with|without) `(?P<path>[^`]+)`(?: (?P<being>named|linked to) `(?P<name>[^`]+)`)?[:.]"
)

Files = Mapping[str, str]
"""A repository: the text of each file by its path. A path that ends with / is an empty folder, one that ends with @ a
link, and its text says where it leads."""


@dataclass(frozen=True)
class Example(ABC):
    """One fault in the repository of examples. `path` is what is at fault, relative to the repository.

    `bad` is the text at fault and `good` the text as it should be; both are empty where a file or a folder is at fault
    by being there or not.
    """

    path: str
    bad: str = ""
    good: str = ""

    @property
    @abstractmethod
    def where(self) -> str:
        """What the bad example is, as it follows the word `bad`."""

    @property
    @abstractmethod
    def instead(self) -> str:
        """What the good example is, as it follows the word `good`; empty where it is told by its text alone."""

    @abstractmethod
    def spoil(self, files: Files) -> Files:
        """The repository with the fault. Raises ValueError where it lacks the place that the example changes."""

    def mend(self, files: Files) -> Files:
        """The repository with the good example."""
        return files


@dataclass(frozen=True)
class Edited(Example):
    """A text in a file; `bad` and `good` take the place of `base`."""

    base: str = ""

    @property
    def where(self) -> str:
        return f"in `{self.path}`"

    @property
    def instead(self) -> str:
        return ""

    def spoil(self, files: Files) -> Files:
        return self._with(self.bad, files)

    def mend(self, files: Files) -> Files:
        return self._with(self.good, files)

    def _with(self, text: str, files: Files) -> Files:
        return {**files, self.path: _replaced(files[self.path], self.base, text)}


@dataclass(frozen=True)
class Missing(Example):
    """A file or a folder that must be there."""

    @property
    def where(self) -> str:
        return f"without `{self.path}`"

    @property
    def instead(self) -> str:
        return "with it"

    def spoil(self, files: Files) -> Files:
        return {path: text for path, text in files.items() if not _is_in(path, self.path)}


@dataclass(frozen=True)
class Added(Example):
    """A file or a folder that must not be there."""

    @property
    def where(self) -> str:
        return f"with `{self.path}`"

    @property
    def instead(self) -> str:
        return "without it"

    def spoil(self, files: Files) -> Files:
        return {**files, self.path: self.bad}


@dataclass(frozen=True)
class Renamed(Example):
    """A file or a folder that is called `path` and should be called `good_path`."""

    good_path: str = ""

    @property
    def where(self) -> str:
        return f"with `{self.good_path}` named `{Path(self.path).name}`"

    @property
    def instead(self) -> str:
        return f"with `{self.good_path}`"

    def spoil(self, files: Files) -> Files:
        return {
            self.path + path.removeprefix(self.good_path) if _is_in(path, self.good_path) else path: text
            for path, text in files.items()
        }


@dataclass(frozen=True)
class Linked(Example):
    """A link that must not be there, to `target`."""

    target: str = ""

    @property
    def where(self) -> str:
        return f"with `{self.path}` linked to `{self.target}`"

    @property
    def instead(self) -> str:
        return "without it"

    def spoil(self, files: Files) -> Files:
        return {**files, f"{self.path}@": self.target}


def read_example(text: str) -> Example:
    """The example that a docstring shows, from the word `Bad` on. Raises ValueError for one that is not written so."""
    (heading, bad), *others = _sections(text)
    match = _HEADING.fullmatch(heading)
    if match is None:
        raise ValueError(f"{heading!r} does not begin an example")
    path, name = match["path"], match["name"]
    if match["how"] == "in":
        texts = dict(others)
        return Edited(path, bad=bad, good=texts["Good:"], base=texts.get("Instead of:", texts["Good:"]))
    if others:
        raise ValueError(f"{others[0][0]!r} has no meaning after {heading!r}")
    if match["how"] == "without":
        return Missing(path)
    if match["being"] == "linked to":
        return Linked(path, target=name)
    return Renamed(str(Path(path).with_name(name)), good_path=path) if name else Added(path, bad=bad)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Each line that is not indented, with the indented text below it."""
    for part in re.split(r"\n+(?=\S)", text.strip()):
        heading, _, body = part.partition("\n")
        yield heading, textwrap.dedent(body).strip("\n")


def sound_repository() -> Files:
    """The repository that examples change."""
    found = {}
    for path in sorted(_REPOSITORY.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            name = path.relative_to(_REPOSITORY).as_posix()
            name = name.removesuffix(_GRAPH_TEXT) + _GRAPH if path.suffix == _GRAPH_TEXT else name
            found[name] = path.read_bytes().decode(errors=_ANY_BYTES)
    return found


def write_repository(files: Files, folder: Path) -> None:
    """Write a repository into an empty or absent folder, its graphs in ONNX's binary form."""
    for name, text in files.items():
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if name.endswith("@"):
            path.with_name(path.name[:-1]).symlink_to(text)
        elif name.endswith(_GRAPH):
            path.write_bytes(_compiled(text))
        elif not name.endswith("/"):
            path.write_bytes(text.encode(errors=_ANY_BYTES))


def _compiled(graph: str) -> bytes:
    """A graph in binary form. What is no graph, a broken download for example, is left as it is."""
    import onnx

    try:
        return bytes(onnx.parser.parse_model(graph).SerializeToString())
    except onnx.parser.ParseError:
        return graph.encode()


def _replaced(text: str, before: str, after: str) -> str:
    found = list(re.finditer(r"\n\s*".join(re.escape(line.strip()) for line in before.splitlines()), text))
    if len(found) != 1:
        raise ValueError(f"the text to change stands there {len(found)} times, not once: {before!r}")
    start, end = found[0].span()
    line = text[text.rfind("\n", 0, start) + 1 :]
    indent = line[: len(line) - len(line.lstrip(" "))]
    return text[:start] + after.replace("\n", "\n" + indent) + text[end:]


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.removesuffix("/") + "/")
