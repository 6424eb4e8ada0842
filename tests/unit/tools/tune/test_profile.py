"""The written profile is the chosen configuration, readable, complete, and never in the place of somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.errors import SettingsError
from conch_tools.releases.configs import allow_all_versions
from conch_tools.tune.errors import ProfileTaken
from conch_tools.tune.profile import MARK, Profile, rewritten

CONFIG = """\
# What the model is.
backend: "onnxruntime"
max_batch_size: 64
output [
  { name: "out" data_type: TYPE_FP32 dims: [ 2 ] } # two {
]
instance_group [
  {
    count: 1
  }
]
dynamic_batching {}
# Why rows are ragged.
parameters { key: "ragged_rows" value { string_value: "length" } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""
HEADER = f"{MARK} pipe --profile tuned`.\n"


def parsed(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


@pytest.fixture
def tuned() -> ModelConfig:
    config = parsed(CONFIG)
    config.instance_group[0].count = 2
    config.dynamic_batching.max_queue_delay_microseconds = 500
    config.parameters["intra_op_thread_count"].string_value = "2"
    return config


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    for model in ("pipe", "pipe_model"):
        (tmp_path / model).mkdir()
        (tmp_path / model / "config.pbtxt").write_text(CONFIG)
    return Profile("tuned", tmp_path, ("pipe", "pipe_model"))


def test_a_rewritten_text_means_the_configuration_and_keeps_comments(tuned: ModelConfig) -> None:
    text = rewritten(CONFIG, tuned)
    assert parsed(text) == tuned
    assert "# What the model is." in text
    assert '# Why rows are ragged.\nparameters { key: "ragged_rows"' in text
    assert text.index("# Tuned:") > text.index("ragged_rows")
    assert text.count("instance_group") == 1


@pytest.mark.parametrize(
    "text",
    [
        'backend: "onnxruntime" max_batch_size: 64 instance_group { count: 1 }',
        '  max_batch_size: 64\n  backend: "onnxruntime"\n  instance_group { count: 1 }\n',
        'backend: "onnxruntime"\nmax_batch_size: 64\ninstance_group\n[ { count: 1 } ]\n',
    ],
)
def test_a_text_laid_out_otherwise_is_written_anew(text: str) -> None:
    config = parsed(text)
    config.instance_group[0].count = 2
    assert parsed(rewritten(text, config)) == config


def test_only_changed_models_get_a_file(profile: Profile, tuned: ModelConfig) -> None:
    written = profile.write({"pipe": parsed(CONFIG), "pipe_model": tuned}, HEADER)
    assert written == [profile.file("pipe_model")]
    assert parsed(written[0].read_text()) == tuned
    assert written[0].read_text().startswith(HEADER)
    assert sorted(path.name for path in written[0].parent.iterdir()) == ["tuned.pbtxt"]
    assert not profile.file("pipe").parent.exists()


def test_what_an_earlier_tuning_wrote_is_replaced_or_removed(profile: Profile, tuned: ModelConfig) -> None:
    profile.write({"pipe": tuned, "pipe_model": tuned}, HEADER)
    profile.require_writable(force=False)
    profile.write({"pipe": parsed(CONFIG), "pipe_model": tuned}, f"{HEADER}# again\n")
    assert not profile.file("pipe").exists()
    assert "# again" in profile.file("pipe_model").read_text()


def test_what_a_tuning_wrote_is_known_as_such_when_releases_have_added_a_line(
    profile: Profile, tuned: ModelConfig
) -> None:
    (written,) = profile.write({"pipe_model": tuned}, HEADER)
    allow_all_versions(written)
    assert not written.read_text().startswith(MARK)
    profile.require_writable(force=False)


def test_a_profile_that_a_person_wrote_is_refused_unless_forced(profile: Profile) -> None:
    profile.file("pipe_model").parent.mkdir()
    profile.file("pipe_model").write_text("max_batch_size: 1\n")
    with pytest.raises(ProfileTaken, match="--force"):
        profile.require_writable(force=False)
    profile.require_writable(force=True)


@pytest.mark.parametrize("name", ["", "../tuned", "a b", "-x", "a/b", "tuned.pbtxt"])
def test_a_name_that_is_no_profile_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="no name of a profile"):
        Profile(name, tmp_path, ()).require_writable(force=False)
