"""Whether a repository's configurations leave anything to be completed when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.check.repository import load_repository
from conch_tools.check.served import needs_completion
from conch_tools.settings import Settings

TENSORS = """
max_batch_size: 8
input [{ name: "logits" data_type: TYPE_FP32 dims: [2] }]
output [{ name: "label" data_type: TYPE_STRING dims: [-1] }]
"""


def test_the_project_writes_everything_into_its_configurations() -> None:
    assert not needs_completion(load_repository(Settings().repository, Settings().backends, hashed=False))


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        ('backend: "class_labels"' + TENSORS, False),
        ('platform: "ensemble" ensemble_scheduling {}', False),
        ('backend: "onnxruntime"', True),
        ('backend: "python"' + TENSORS, True),
    ],
    ids=["ours", "an ensemble", "without tensors", "another's, who may add anything"],
)
def test_only_what_our_backends_serve_is_known_to_be_complete(tmp_path: Path, config: str, needs: bool) -> None:
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "config.pbtxt").write_text(config)
    assert needs_completion(load_repository(tmp_path, Settings().backends, hashed=False)) is needs
