"""Comments in a file that say which findings are known and wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "echo"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""


def batching(before: str = "", behind: str = "") -> dict[str, str | bytes]:
    """A model with CFG015 in the line after `before`, and CFG009 in the one after that."""
    policy = f"{before}default_queue_policy {{ max_queue_size: 8 }}{behind}"
    text = f"{CONFIG}dynamic_batching {{\n{policy}\npreferred_batch_size: 9\n}}\n"
    return {"m/config.pbtxt": text, "m/1/": ""}


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_without_a_comment_both_are_told(check: Check) -> None:
    assert codes(check(batching())) == ["CFG015", "CFG009"]


@pytest.mark.parametrize(
    "files",
    [
        batching(behind="  # conch: ignore CFG015"),
        batching(behind=" #conch:ignore CFG001, cfg015"),
        batching(behind="\x0c# conch: ignore CFG015"),
        batching(before="# conch: ignore CFG015, because nobody waits\n"),
    ],
)
def test_a_comment_on_the_line_or_before_it_suppresses_its_codes(
    check: Check, files: Mapping[str, str | bytes]
) -> None:
    assert codes(check(files)) == ["CFG009"]


@pytest.mark.parametrize(
    "files",
    [
        batching(behind="  # conch: ignore CFG999"),
        batching(behind="  # conch: ignore"),
        batching(before="# conch: ignore CFG015\n\n"),
    ],
)
def test_other_comments_suppress_nothing(check: Check, files: Mapping[str, str | bytes]) -> None:
    assert codes(check(files)) == ["CFG015", "CFG009"]


def test_a_comment_behind_a_value_speaks_of_its_own_line_only(check: Check) -> None:
    assert codes(check(batching(behind="  # conch: ignore CFG009"))) == ["CFG015", "CFG009"]


def test_a_comment_in_one_file_says_nothing_of_another(check: Check) -> None:
    files = batching(behind="  # conch: ignore CFG015")
    others = {name.replace("m/", "n/"): content for name, content in batching().items()}
    assert [(each.file.parent.name, each.code) for each in check({**files, **others})] == [
        ("m", "CFG009"),
        ("n", "CFG015"),
        ("n", "CFG009"),
    ]
