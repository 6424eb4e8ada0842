"""Rules about manifest.json: the verdict of the step that would load the folder, with the place and the cure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conch_tools.check import Finding, Severity, check_repository
from conch_tools.settings import Settings

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

CONFIG = """\
backend: "class_labels"
max_batch_size: 8
input { name: "logits" data_type: TYPE_FP32 dims: 2 }
output { name: "label" data_type: TYPE_STRING dims: -1 }
output { name: "score" data_type: TYPE_FP32 dims: -1 }
"""
LABELS = "no\nyes\n"
SHA256 = hashlib.sha256(LABELS.encode()).hexdigest()


def model(manifest: str, **files: str) -> dict[str, str | bytes]:
    others = {f"m/1/{name.replace('_', '.')}": content for name, content in files.items()}
    return {"m/config.pbtxt": CONFIG, "m/1/labels.txt": LABELS, "m/1/manifest.json": manifest, **others}


def listing(**facts: Any) -> str:
    return json.dumps({"files": {"labels.txt": {"sha256": SHA256, "bytes": len(LABELS), **facts}}})


def test_a_folder_as_it_was_built_gives_no_finding(check_ours: Check) -> None:
    assert check_ours(model(listing())) == []


@pytest.mark.parametrize(
    ("manifest", "what"),
    [
        ("{", "does not list files of its folder"),
        ("", "does not list files of its folder"),
        ("[" * 100_000, "does not list files of its folder"),
        ("[]", "does not list files of its folder"),
        ('{"files": []}', "does not list files of its folder"),
        ('{"files": {"../labels.txt": {"sha256": "0"}}}', "does not list files of its folder"),
        ('{"files": {"weights.bin": {"sha256": "0"}}}', "weights.bin is listed in manifest.json but missing"),
        (listing(bytes=3), "labels.txt has 7 bytes, manifest.json lists 3"),
        (listing(sha256="0"), "labels.txt is not the file that was built"),
    ],
)
def test_what_the_step_refuses_is_an_error(check_ours: Check, repository: Path, manifest: str, what: str) -> None:
    found = [finding for finding in check_ours(model(manifest)) if finding.code != "MAN002"]
    (finding,) = found
    assert (finding.code, finding.severity) == ("MAN001", Severity.ERROR)
    assert finding.file == repository / "m" / "1" / "manifest.json"
    assert what in finding.what and str(repository) not in finding.what
    assert finding.cure.startswith("run `conch build`")


def test_the_cure_names_the_pipeline_that_is_to_be_built(check_ours: Check) -> None:
    files = {name.replace("m/", "mood_labels/"): content for name, content in model("{").items()}
    findings = check_ours({**files, "mood/pipeline.toml": ""})
    assert [each.cure for each in findings if each.code == "MAN001"] == [
        "run `conch build mood`, or remove manifest.json if you put the files there yourself"
    ]


def test_a_file_that_was_not_recorded_is_a_warning(check_ours: Check) -> None:
    (finding,) = check_ours(model(listing(), notes_txt="", _keep=""))
    assert (finding.code, finding.severity, finding.what) == (
        "MAN002",
        Severity.WARNING,
        "`notes.txt` not listed in manifest.json",
    )


def test_hashes_may_be_left_to_the_steps(check_ours: Check, repository: Path) -> None:
    assert check_ours(model(listing(sha256="0"))) != []
    assert check_repository(repository, Settings().backends, hashed=False) == []


def test_a_manifest_of_others_means_nothing(check: Check) -> None:
    own = CONFIG.replace("class_labels", "echo")
    assert check({"m/config.pbtxt": own, "m/1/manifest.json": '{"name": "not ours"}'}) == []
