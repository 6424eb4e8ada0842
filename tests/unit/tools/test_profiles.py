"""A profile that serves another file of a graph widens what a golden request may be off by, and nothing else does."""

from pathlib import Path

import pytest

from conch_tools.pipelines import load_pipelines
from conch_tools.profiles import within_gate

PIPELINE = """
task = "feature-extraction"
description = "Meaning."
{source}
[gates]
max_abs_difference = 1e-5
variant = {{ max_abs_difference = 0.25 }}
[[samples]]
input = {{ text = "one" }}
expect = {{ embedding = [0.5] }}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`mood`, `asking`, which uses it, and `apart`; two profiles of `mood_model`, one of them with another file."""
    for name, source in (
        ("mood", "[source]\npackage = 'x'"),
        ("asking", "uses = ['mood']"),
        ("apart", "[source]\nhub = 'a/b'"),
    ):
        for model in (name, f"{name}_model"):
            (tmp_path / model).mkdir()
            (tmp_path / model / "config.pbtxt").write_text('backend: "onnxruntime"')
        (tmp_path / name / "pipeline.toml").write_text(PIPELINE.format(source=source))
    configs = tmp_path / "mood_model" / "configs"
    configs.mkdir()
    (configs / "small.pbtxt").write_text('backend: "onnxruntime" default_model_filename: "model.int8.onnx"')
    (configs / "tuned.pbtxt").write_text('backend: "onnxruntime" max_batch_size: 4')
    return tmp_path


@pytest.mark.parametrize(
    ("profile", "tolerances"),
    [
        (None, {"mood": 1e-3, "asking": 1e-3, "apart": 1e-3}),
        ("tuned", {"mood": 1e-3, "asking": 1e-3, "apart": 1e-3}),
        ("small", {"mood": 0.25, "asking": 0.25, "apart": 1e-3}),
    ],
)
def test_a_variant_and_who_uses_it_are_held_to_their_gates(
    repository: Path, profile: str | None, tolerances: dict[str, float]
) -> None:
    found = [within_gate(each, profile) for each in load_pipelines(repository)]
    assert {each.name: each.samples[0].tolerance for each in found} == tolerances
