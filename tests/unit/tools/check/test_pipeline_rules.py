"""Rules about pipeline.toml: what can be known of a pipeline without building it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "echo"
input { name: "text" data_type: TYPE_STRING dims: 1 }
input { name: "hint" data_type: TYPE_STRING dims: 1 optional: true }
output { name: "label" data_type: TYPE_STRING dims: -1 }
"""
PIPELINE = """\
task = "text-classification"
description = "How a text sounds."
[source]
package = "some-model"
[gates]
minimum = { accuracy = 0.9 }
[[samples]]
input = { text = "fine" }
expect = { label = "good" }
"""


def mood(pipeline: str, config: str = CONFIG) -> dict[str, str | bytes]:
    return {"mood/config.pbtxt": config, "mood/1/": "", "mood/pipeline.toml": pipeline}


def test_a_sound_pipeline_gives_no_finding(check: Check) -> None:
    assert check(mood(PIPELINE)) == []


@pytest.mark.parametrize(
    ("code", "before", "after", "line", "what", "cure"),
    [
        ("PIP001", "[source]", "[source", 3, "not readable as TOML", "correct the file"),
        ("PIP001", '"text-class', '"poetry-class', 1, "`task`: Input should be", "correct it"),
        ("PIP001", "package", "pakage", 4, "`source.pakage`: Extra inputs", "did you mean `package`?"),
        ("PIP001", "description", "descripton", 2, "`descripton`: Extra inputs", "did you mean `description`?"),
        ("PIP001", "0.9", '"much"', 6, "`gates.minimum.accuracy`: Input should be a valid number", "correct it"),
        ("PIP001", "[gates]", "[[[[" * 9999, 5, "not readable as TOML", "correct the file"),
        ("PIP002", "[source]", 'uses = ["mod"]\n[source]', 3, "no pipeline `mod`", "name a folder with"),
        ("PIP002", "[source]", 'uses = ["mood"]\n[source]', 3, "uses itself: `mood` -> `mood`", "remove one of them"),
        ("PIP003", "{ text", "{ txt", 8, "`txt` of sample 1 is no input", "did you mean `text`?"),
        ("PIP003", '{ text = "fine" }', '{ hint = "x" }', 8, "sample 1 does not give `text`", "add it to the sample"),
        ("PIP004", "{ label", "{ lable", 9, "`lable`, which sample 1 expects", "did you mean `label`?"),
        ("PIP001", "0.9", "nan", 6, "`gates.minimum.accuracy`: Input should be a finite number", "correct it"),
        (
            "PIP006",
            "{ accuracy = 0.9 }",
            "{ a = 0.9 }\nmaximum = { a = 0.8 }",
            6,
            "at least 0.9 and at most",
            "lower the",
        ),
        ("PIP007", "[source]", "[members]\nforest = 1.0\n[source]", 4, "member `forest` has no model", "add the model"),
    ],
)
def test_a_fault_is_named_with_its_line_and_cure(
    check: Check, repository: Path, code: str, before: str, after: str, line: int, what: str, cure: str
) -> None:
    found = check(mood(PIPELINE.replace(before, after, 1)))
    finding = next(each for each in found if what in each.what)
    assert {each.code for each in found} == {code}
    assert (finding.severity, finding.line) == (Severity.ERROR, line)
    assert finding.file == repository / "mood" / "pipeline.toml"
    assert finding.cure.startswith(cure)


def test_every_field_at_fault_is_named(check: Check) -> None:
    found = check(mood("task = 1\n[[samples]]\ninput = 3\n"))
    assert {each.what.split(":")[0] for each in found} == {
        "`task`",
        "`description`",
        "`samples.0.input`",
        "`samples.0.expect`",
    }


def test_pipelines_that_use_each_other_are_both_named(check: Check) -> None:
    files = mood(PIPELINE.replace("[source]", 'uses = ["tone"]\n[source]'))
    tone = {name.replace("mood", "tone"): content for name, content in files.items()}
    tone["tone/pipeline.toml"] = PIPELINE.replace("[source]", 'uses = ["mood"]\n[source]')
    assert [(each.code, each.line) for each in check({**files, **tone})] == [("PIP002", 3)] * 2


@pytest.mark.parametrize(("image", "what"), [('"no.png"', "there is no file `no.png`"), ("3", "is no text")])
def test_a_samples_image_lies_beside_the_file(check: Check, image: str, what: str) -> None:
    config = CONFIG.replace('"text"', '"image"')
    sound = mood(PIPELINE.replace('text = "fine"', 'image = "yes.png"'), config)
    assert check({**sound, "mood/yes.png": b""}) == []
    (finding,) = check(mood(PIPELINE.replace('text = "fine"', f"image = {image}"), config))
    assert (finding.code, finding.line) == ("PIP005", 8)
    assert what in finding.what


def test_a_member_has_a_model_of_its_name(check: Check) -> None:
    files = mood(PIPELINE.replace("[source]", "[members]\nforst = 1.0\n[source]"))
    (finding,) = check({**files, "mood_forest/config.pbtxt": CONFIG, "mood_forest/1/": ""})
    assert (finding.code, finding.cure) == ("PIP007", "did you mean `forest`?")
