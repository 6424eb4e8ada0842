"""A golden request that cannot be made says so, and ends no round of the others."""

from __future__ import annotations

from pathlib import Path

from conch_client import Client
from conch_tools.healing.golden import Symptom, ask_golden
from conch_tools.pipelines import load_pipeline

PIPELINE = """
task = "image-classification"
description = "Digits."
source = { folder = "." }
[[samples]]
input = { image = "gone.png" }
expect = { label = "7" }
"""


def test_a_sample_whose_file_is_gone_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "pipeline.toml").write_text(PIPELINE)
    with Client("127.0.0.1:1") as client:
        outcome = ask_golden(client, load_pipeline(folder), 1.0)
    assert outcome.symptom is Symptom.UNASKED
    assert str(folder / "gone.png") in outcome.problem
