"""Every failure of the command is a sentence and an exit code that is not zero."""

from __future__ import annotations

import ast
import errno
import pickle
import re
import shutil
from pathlib import Path

import pytest

from conch_tools import errors
from conch_tools.errors import (
    AlreadyRunning,
    BuildError,
    ConchError,
    ParityError,
    PipelineFileError,
    PortTaken,
    in_words,
)

EXAMPLES = [
    PortTaken(8000, "Triton HTTP", "CONCH_HTTP_PORT", "process 7 (nginx)"),
    BuildError("mood", "no weights"),
    ParityError("mood", "mood_model", "`logits` differ"),
    AlreadyRunning(7, 8000),
    PipelineFileError(Path("mood/pipeline.toml"), [(("samples", 0, "input"), "Field required")]),
]


def test_every_kind_of_failure_ends_the_command_with_a_code_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ConchError)]
    assert len(kinds) > 5
    assert all(kind.exit_code > 0 and kind.__doc__ for kind in kinds)


def test_the_tree_in_the_docstring_is_the_one_in_the_code() -> None:
    told: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if branch := re.match(r"( {4,}[ │├└─]*)([A-Z]\w+) {2,}\S", line):
            depth, name = len(branch[1]), branch[2]
            above = [each for each in above if each[0] < depth]
            told[name] = above[-1][1] if above else "Exception"
            above.append((depth, name))
    written = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for file in Path(errors.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"ConchError": "Exception"}
    while found := {
        name: bases[0] for name, bases in written.items() if name not in kinds and bases and bases[0] in kinds
    }:
        kinds |= found
    assert told == kinds


def test_a_taken_port_is_told_with_or_without_its_owner() -> None:
    assert str(EXAMPLES[0]) == (
        "port 8000 (Triton HTTP) is taken by process 7 (nginx): "
        "stop that process, or set CONCH_HTTP_PORT to a free port"
    )
    assert str(PortTaken(8000, "Triton HTTP", "CONCH_HTTP_PORT", None)).startswith("port 8000 (Triton HTTP) is taken: ")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_failures_pass_between_processes_whole(example: ConchError) -> None:
    # A build runs in worker processes, whose failures come back pickled.
    copy = pickle.loads(pickle.dumps(example))
    assert (type(copy), str(copy)) == (type(example), str(example))


def test_what_the_system_refuses_is_told_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as refused:
        (tmp_path / "nothing").read_text()
    assert in_words(refused.value) == f"No such file or directory: {tmp_path / 'nothing'}"
    assert in_words(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"


def test_of_many_files_that_cannot_be_copied_the_first_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "from" / name).mkdir(parents=True)
        (tmp_path / "from" / name / "link").symlink_to("nothing")
    with pytest.raises(shutil.Error) as refused:
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    said = in_words(refused.value)
    assert "No such file or directory" in said and said.count(str(tmp_path / "from")) == 1
