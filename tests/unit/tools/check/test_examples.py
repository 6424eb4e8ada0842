"""The examples of all rules: what is shown as bad has that one fault, and what is shown as good has none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from conch_tools.check import Finding, check_repository
from conch_tools.check.examples import (
    Added,
    Edited,
    Example,
    Files,
    Missing,
    Renamed,
    read_example,
    sound_repository,
    write_repository,
)
from conch_tools.check.rulebook import Rule
from conch_tools.check.rules import all_rules
from conch_tools.settings import Settings

WITHOUT_BACKENDS = ("BAK003", "ONX012")
"""Rules for checks that are not told of any folder of backends."""

COMES_ALONG = {
    "CAC001": {"CAC003"},  # all steps of the examples that are steered by parameters belong to a pipeline
    "CFG011": {"ONX009"},  # a type that Triton does not write is not the graph's either
    "CFG020": {"CFG015"},  # priorities turn prefetching off
    "CFG021": {"CFG015"},
    "CFG023": {"CFG015"},
    "CFG030": {"ONX005", "ONX011"},  # a control that core refuses is not the graph's either
    "CFG031": {"ONX011"},
    "CFG032": {"ONX011"},
    "CFG034": {"ONX014"},  # the one model of sequences in the examples is served by the stand-in
    "ENS022": {"ENS024"},  # the tensor that was meant is left without a reader
    "ENS025": {"ENS020"},  # the input that was meant is left without a reader
    "ENS028": {"CAC001", "CAC003"},  # labels can be asked for with other parameters, and the pipeline has samples
    "FIL008": {"FIL009"},  # what a shell reads no URL holds
    "FIL010": {"BAK001"},  # without a configuration nothing tells the backend
    "STP009": {"STP004"},  # no other pipeline of the examples answers with an embedding
}
"""Codes of other rules that cannot but find something in the same place."""

EDITED = """\
Bad in `m/config.pbtxt`:

    max_batch_size: -1

Good:

    max_batch_size: 0
"""
SOUND = sound_repository()


def named(rules: Iterable[Rule[Any]]) -> pytest.MarkDecorator:
    """Run a test for each of these rules."""
    return pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.code) for rule in rules])


def findings(files: Files, folder: Path, rule: Rule[Any]) -> list[Finding]:
    write_repository(files, folder)
    return check_repository(folder, None if rule.code in WITHOUT_BACKENDS else Settings().backends)


@pytest.mark.parametrize("backends", [Settings().backends, None], ids=["with backends", "without"])
def test_the_repository_of_examples_is_sound(backends: Path | None, tmp_path: Path) -> None:
    write_repository(SOUND, tmp_path)
    assert check_repository(tmp_path, backends) == []


@named(all_rules())
def test_a_bad_example_has_this_fault_and_no_other_in_its_place(rule: Rule[Any], tmp_path: Path) -> None:
    assert rule.example is not None, "its docstring shows no example"
    found = findings(rule.example.spoil(SOUND), tmp_path, rule)
    path = tmp_path / rule.example.path
    assert {each.code for each in found if each.file in (path, *path.parents)} == {
        rule.code,
        *COMES_ALONG.get(rule.code, ()),
    }


@named(rule for rule in all_rules() if rule.example is not None and rule.example.mend(SOUND) != SOUND)
def test_a_good_example_that_is_no_part_of_the_repository_has_no_fault_either(rule: Rule[Any], tmp_path: Path) -> None:
    assert rule.example is not None
    assert findings(rule.example.mend(SOUND), tmp_path, rule) == []


@pytest.mark.parametrize(
    ("text", "example"),
    [
        (
            EDITED,
            Edited("m/config.pbtxt", bad="max_batch_size: -1", good="max_batch_size: 0", base="max_batch_size: 0"),
        ),
        (
            EDITED + "\nInstead of:\n\n    a {\n      b\n    }\n",
            Edited("m/config.pbtxt", bad="max_batch_size: -1", good="max_batch_size: 0", base="a {\n  b\n}"),
        ),
        ("Bad without `m/1`.", Missing("m/1")),
        ("Bad with `m/3.old/`.", Added("m/3.old/")),
        ("Bad with `m/1/labels.txt`:\n\n    one\n    two", Added("m/1/labels.txt", bad="one\ntwo")),
        ("Bad with `a/m` named `n`.", Renamed("a/n", good_path="a/m")),
    ],
)
def test_an_example_is_read_as_it_is_written(text: str, example: Example) -> None:
    assert read_example(text) == example


@pytest.mark.parametrize("text", ["Bad.", "Bad in m:", EDITED.replace("Good:", "Fine:"), "Bad without `m`.\n\nGood:"])
def test_an_example_that_is_not_written_so_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        read_example(text)


def test_a_text_changes_in_its_one_place_whatever_its_indentation() -> None:
    example = Edited("f", bad="x {\n  1\n}", good="x {\n  2\n}", base="y {\n  3\n}")
    files = {"f": "a {\n    y {\n      3\n    }\n}\n"}
    assert example.spoil(files) == {"f": "a {\n    x {\n      1\n    }\n}\n"}
    assert example.mend(files) == {"f": "a {\n    x {\n      2\n    }\n}\n"}
    for text in ("a", "y {\n3\n} y {\n3\n}"):
        with pytest.raises(ValueError, match="not once"):
            example.spoil({"f": text})


def test_files_and_folders_go_come_and_change_their_name() -> None:
    files = {"m/config.pbtxt": "c", "m/1/x": "x", "mm/1/x": "y"}
    assert Missing("m/1").spoil(files) == {"m/config.pbtxt": "c", "mm/1/x": "y"}
    assert Added("m/2/").spoil(files) == {**files, "m/2/": ""}
    assert Renamed("n", good_path="m").spoil(files) == {"n/config.pbtxt": "c", "n/1/x": "x", "mm/1/x": "y"}


def test_graphs_are_written_in_binary_form_and_what_is_none_as_it_is(tmp_path: Path) -> None:
    graph = SOUND["double/1/model.onnx"]
    write_repository({"m/1/model.onnx": graph, "n/1/model.onnx": "version", "n/2/": ""}, tmp_path)
    assert (tmp_path / "m/1/model.onnx").read_bytes().startswith(b"\x08")
    assert (tmp_path / "n/1/model.onnx").read_text() == "version"
    assert (tmp_path / "n/2").is_dir()
