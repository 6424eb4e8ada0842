"""pipeline.toml: what is read, and what is said when it is wrong."""

from pathlib import Path

import pytest

from conch_tools.errors import RepositoryError
from conch_tools.pipelines import load_pipeline, load_pipelines

SOUND = """
task = "text-classification"
description = "Mood."
[source]
package = "some-model"
[[samples]]
input = { text = "fine" }
expect = { label = "good" }
"""


def write(repository: Path, name: str, content: str) -> Path:
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "pipeline.toml").write_text(content, encoding="utf-8")
    return folder


def test_a_sound_file_is_read_with_its_name_and_folder(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, "mood", SOUND))
    assert (pipeline.name, pipeline.task) == ("mood", "text-classification")
    assert pipeline.step("model") == "mood_model"
    assert pipeline.sample_inputs(pipeline.samples[0]) == {"text": "fine"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("task = ", "not readable as TOML"),
        (SOUND.replace("text-classification", "poetry"), "task"),
        (SOUND.replace("package", "packege"), "source.packege"),
        (SOUND.replace('package = "some-model"', ""), "name an origin"),
        (SOUND.replace("[[samples]]", 'hub = "a/b"\n[[samples]]'), "name one origin, not hub and package"),
        (SOUND.split("[[samples]]")[0], "samples"),
        (SOUND + "\n[gates]\nminimum = 1.5", "gates.minimum"),
    ],
)
def test_a_fault_is_named_with_its_file_and_field(tmp_path: Path, content: str, said: str) -> None:
    folder = write(tmp_path, "mood", content)
    with pytest.raises(RepositoryError) as refused:
        load_pipeline(folder)
    assert said in str(refused.value)
    assert str(folder / "pipeline.toml") in str(refused.value)


def test_an_unknown_name_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, "sentiment", SOUND)
    with pytest.raises(RepositoryError, match="did you mean `sentiment`"):
        load_pipelines(tmp_path, ["sentimnt"])


def test_a_repository_without_pipelines_says_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="has no pipeline"):
        load_pipelines(tmp_path)


def test_only_the_named_pipelines_are_loaded(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write(tmp_path, name, SOUND)
    assert [pipeline.name for pipeline in load_pipelines(tmp_path, ["three", "one"])] == ["one", "three"]
